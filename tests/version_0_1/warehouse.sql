CREATE SCHEMA mart_0_1;

CREATE SCHEMA raw_0_1;

CREATE TABLE mart_0_1.pg_sales (
    transaction_id text CONSTRAINT pg_sales__dbt_tmp_transaction_id_not_null NOT NULL,
    product text CONSTRAINT pg_sales__dbt_tmp_product_not_null NOT NULL,
    price numeric(18,2) CONSTRAINT pg_sales__dbt_tmp_price_not_null NOT NULL,
    quantity bigint CONSTRAINT pg_sales__dbt_tmp_quantity_not_null NOT NULL,
    amount numeric(29,2) CONSTRAINT pg_sales__dbt_tmp_amount_not_null NOT NULL,
    sale_date date CONSTRAINT pg_sales__dbt_tmp_sale_date_not_null NOT NULL
);

CREATE TABLE mart_0_1.sales_by_date (
    sale_date date CONSTRAINT sales_by_date__dbt_tmp_sale_date_not_null NOT NULL,
    total_amount numeric(29,2) CONSTRAINT sales_by_date__dbt_tmp_total_amount_not_null NOT NULL,
    total_quantity bigint CONSTRAINT sales_by_date__dbt_tmp_total_quantity_not_null NOT NULL,
    transaction_count bigint CONSTRAINT sales_by_date__dbt_tmp_transaction_count_not_null NOT NULL,
    avg_price numeric(20,2) CONSTRAINT sales_by_date__dbt_tmp_avg_price_not_null NOT NULL
);

CREATE TABLE mart_0_1.sales_by_product (
    product text CONSTRAINT sales_by_product__dbt_tmp_product_not_null NOT NULL,
    total_amount numeric(29,2) CONSTRAINT sales_by_product__dbt_tmp_total_amount_not_null NOT NULL,
    total_quantity bigint CONSTRAINT sales_by_product__dbt_tmp_total_quantity_not_null NOT NULL,
    transaction_count bigint CONSTRAINT sales_by_product__dbt_tmp_transaction_count_not_null NOT NULL,
    avg_price numeric(20,2) CONSTRAINT sales_by_product__dbt_tmp_avg_price_not_null NOT NULL
);

CREATE TABLE mart_0_1.summary_sales (
    product text CONSTRAINT summary_sales__dbt_tmp_product_not_null NOT NULL,
    sale_month date CONSTRAINT summary_sales__dbt_tmp_sale_month_not_null NOT NULL,
    total_amount numeric(29,2) CONSTRAINT summary_sales__dbt_tmp_total_amount_not_null NOT NULL,
    avg_price numeric(20,2) CONSTRAINT summary_sales__dbt_tmp_avg_price_not_null NOT NULL,
    transaction_count bigint CONSTRAINT summary_sales__dbt_tmp_transaction_count_not_null NOT NULL
);

CREATE TABLE raw_0_1.load_runs (
    sequence bigint NOT NULL,
    run_id text NOT NULL,
    business_date date NOT NULL,
    mode text NOT NULL,
    rows bigint NOT NULL,
    yielded_rows bigint NOT NULL,
    key_id text NOT NULL,
    sale_date_window text,
    seal_digest text NOT NULL,
    loaded_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL
);

CREATE TABLE raw_0_1.publications (
    sequence bigint NOT NULL,
    run_id text NOT NULL,
    mart_rules_digest text NOT NULL,
    mart_rows text NOT NULL,
    published_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL
);

CREATE TABLE raw_0_1.raw_transactions (
    transaction_id text NOT NULL COLLATE pg_catalog."C",
    product text COLLATE pg_catalog."C",
    price numeric(18,2),
    quantity bigint,
    sale_date date NOT NULL,
    source_file integer NOT NULL,
    source_row bigint NOT NULL,
    run_id text NOT NULL,
    business_date date NOT NULL
);

CREATE TABLE raw_0_1.sales_by_product_month (
    product text CONSTRAINT sales_by_product_month__dbt_tmp_product_not_null NOT NULL,
    sale_month date CONSTRAINT sales_by_product_month__dbt_tmp_sale_month_not_null NOT NULL,
    total_amount numeric(29,2) CONSTRAINT sales_by_product_month__dbt_tmp_total_amount_not_null NOT NULL,
    total_quantity bigint CONSTRAINT sales_by_product_month__dbt_tmp_total_quantity_not_null NOT NULL,
    total_price numeric(29,2) CONSTRAINT sales_by_product_month__dbt_tmp_total_price_not_null NOT NULL,
    transaction_count bigint CONSTRAINT sales_by_product_month__dbt_tmp_transaction_count_not_null NOT NULL
);

CREATE VIEW raw_0_1.stg_transactions AS
 WITH source AS (
         SELECT raw_transactions.transaction_id,
            raw_transactions.product,
            raw_transactions.price,
            raw_transactions.quantity,
            raw_transactions.sale_date,
            raw_transactions.run_id
           FROM raw_0_1.raw_transactions
        )
 SELECT transaction_id,
    product,
    price,
    quantity,
    sale_date,
    run_id,
    (product IS NULL) AS is_missing_product,
    (price IS NULL) AS is_missing_price,
    (quantity IS NULL) AS is_missing_quantity,
    COALESCE((NOT starts_with(product, ''::text)), false) AS is_wrong_prefix,
    COALESCE((NOT ((price >= 0.00) AND (price > (0)::numeric))), false) AS is_price_too_low,
    COALESCE((NOT ((quantity >= 1) AND (quantity <= 100))), false) AS is_quantity_out_of_range,
    COALESCE((starts_with(product, ''::text) AND (price >= 0.00) AND (price > (0)::numeric) AND ((quantity >= 1) AND (quantity <= 100))), false) AS is_in_marts
   FROM source;

INSERT INTO mart_0_1.pg_sales VALUES ('5dd67f7fb9c529cb28245800137482c9c2fdff9b7d22f54cd3bfa90c59b78481', 'Tea', 9.99, 1, 9.99, '2023-09-30');
INSERT INTO mart_0_1.pg_sales VALUES ('1f93603db53bfad5c92390f735d0cbb8617b4ab8214ae91c5664a3d1e9b009c8', 'Tea', 1.25, 3, 3.75, '2023-10-01');
INSERT INTO mart_0_1.pg_sales VALUES ('0f617ba98e6a0f426517e51aff86858da592399abcde80b1b5995a6d0b71a055', 'Ink', 0.20, 7, 1.40, '2023-10-02');
INSERT INTO mart_0_1.pg_sales VALUES ('11ee5e9af3eec0dc5afa6d11db4f11e5a7a9ec95a8668da51b20155729a32bbe', 'Tea', 2.00, 2, 4.00, '2023-10-02');

INSERT INTO mart_0_1.sales_by_date VALUES ('2023-09-30', 9.99, 1, 1, 9.99);
INSERT INTO mart_0_1.sales_by_date VALUES ('2023-10-01', 3.75, 3, 1, 1.25);
INSERT INTO mart_0_1.sales_by_date VALUES ('2023-10-02', 5.40, 9, 2, 1.10);

INSERT INTO mart_0_1.sales_by_product VALUES ('Tea', 17.74, 6, 3, 4.41);
INSERT INTO mart_0_1.sales_by_product VALUES ('Ink', 1.40, 7, 1, 0.20);

INSERT INTO mart_0_1.summary_sales VALUES ('Tea', '2023-09-01', 9.99, 9.99, 1);
INSERT INTO mart_0_1.summary_sales VALUES ('Ink', '2023-10-01', 1.40, 0.20, 1);
INSERT INTO mart_0_1.summary_sales VALUES ('Tea', '2023-10-01', 7.75, 1.63, 2);

INSERT INTO raw_0_1.load_runs VALUES (1, '2023-10-01-87fa087ffbb5', '2023-10-01', 'append', 3, 0, 'sha256', '["2023-09-30", "2023-10-01"]', 'b4015659ab53a7123d1a5e5f62fa064e419a9830831f5532922c182bef193f9b', '2026-11-30 17:31:21.412365+00');
INSERT INTO raw_0_1.load_runs VALUES (2, '2023-10-02-6516db68c441', '2023-10-02', 'append', 2, 0, 'sha256', '["2023-10-01", "2023-10-02"]', '36f98607188ec883fdbb15470dce3fafc6a6b10de3af104ca5f95a7a67024a8d', '2026-11-30 17:33:46.945962+00');

INSERT INTO raw_0_1.publications VALUES (1, '2023-10-01-87fa087ffbb5', 'dc3c49d0e6bba3d4bf27bd5542ba2680d0b8a717d3994eec51c2fa9e2e9229ed', '{"pg_sales": 3, "sales_by_date": 2, "sales_by_product": 2, "summary_sales": 3, "sales_by_product_month": 3}', '2026-11-30 17:32:00.073396+00');
INSERT INTO raw_0_1.publications VALUES (2, '2023-10-02-6516db68c441', 'dc3c49d0e6bba3d4bf27bd5542ba2680d0b8a717d3994eec51c2fa9e2e9229ed', '{"pg_sales": 4, "sales_by_date": 3, "sales_by_product": 2, "summary_sales": 3, "sales_by_product_month": 3}', '2026-11-30 17:34:19.201714+00');

INSERT INTO raw_0_1.raw_transactions VALUES ('1f93603db53bfad5c92390f735d0cbb8617b4ab8214ae91c5664a3d1e9b009c8', 'Tea', 1.25, 3, '2023-10-01', 0, 1, '2023-10-01-87fa087ffbb5', '2023-10-01');
INSERT INTO raw_0_1.raw_transactions VALUES ('5dd67f7fb9c529cb28245800137482c9c2fdff9b7d22f54cd3bfa90c59b78481', 'Tea', 9.99, 1, '2023-09-30', 0, 3, '2023-10-01-87fa087ffbb5', '2023-10-01');
INSERT INTO raw_0_1.raw_transactions VALUES ('0f617ba98e6a0f426517e51aff86858da592399abcde80b1b5995a6d0b71a055', 'Ink', 0.20, 7, '2023-10-02', 0, 1, '2023-10-02-6516db68c441', '2023-10-02');
INSERT INTO raw_0_1.raw_transactions VALUES ('11ee5e9af3eec0dc5afa6d11db4f11e5a7a9ec95a8668da51b20155729a32bbe', 'Tea', 2.00, 2, '2023-10-02', 0, 2, '2023-10-02-6516db68c441', '2023-10-02');

INSERT INTO raw_0_1.sales_by_product_month VALUES ('Tea', '2023-09-01', 9.99, 1, 9.99, 1);
INSERT INTO raw_0_1.sales_by_product_month VALUES ('Ink', '2023-10-01', 1.40, 7, 0.20, 1);
INSERT INTO raw_0_1.sales_by_product_month VALUES ('Tea', '2023-10-01', 7.75, 5, 3.25, 2);

ALTER TABLE ONLY raw_0_1.load_runs
    ADD CONSTRAINT load_runs_pkey PRIMARY KEY (sequence);

CREATE INDEX pg_sales_sale_date ON mart_0_1.pg_sales USING btree (sale_date);

CREATE INDEX sales_by_date_sale_date ON mart_0_1.sales_by_date USING btree (sale_date);

CREATE INDEX summary_sales_sale_month ON mart_0_1.summary_sales USING btree (sale_month);

CREATE INDEX raw_transactions_batch ON raw_0_1.raw_transactions USING btree (business_date);

CREATE INDEX raw_transactions_date ON raw_0_1.raw_transactions USING btree (sale_date);

CREATE UNIQUE INDEX raw_transactions_token ON raw_0_1.raw_transactions USING btree (transaction_id);

CREATE INDEX sales_by_product_month_sale_month ON raw_0_1.sales_by_product_month USING btree (sale_month);
