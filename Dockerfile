# The image of every step. Builds with Docker, Podman and Buildah, as
#
#     docker build -t sales-mart:0.1.0 .
#
# and needs a base image with Python 3.11 or later and a package index, nothing else. No compiler:
# every dependency comes as a wheel.
ARG BASE_IMAGE=python:3.13-slim-bookworm

FROM ${BASE_IMAGE} AS build
# A package index of your own: --build-arg PIP_INDEX_URL=...
ARG PIP_INDEX_URL
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /build
# The dependencies by themselves: this layer stays the same while only our code changes. An empty
# package stands in for ours, to tell what its extras need.
COPY pyproject.toml constraints.txt ./
RUN python3 -m venv /opt/sales-mart \
    && sed -n '/^pip==/,/[^\\]$/p' constraints.txt > pip.txt \
    && /opt/sales-mart/bin/python -m pip install --quiet --require-hashes --requirement pip.txt \
    && mkdir -p dbt src/sales_mart && touch README.md LICENSE src/sales_mart/__init__.py \
    && /opt/sales-mart/bin/python -m pip install --quiet --no-deps \
        --build-constraint constraints.txt . \
    && /opt/sales-mart/bin/python -m pip install --quiet --no-compile --require-hashes \
        --constraint constraints.txt --build-constraint constraints.txt \
        'sales-mart[api,azure,excel,pipeline-bigquery,pipeline-postgres,s3]' \
    && /opt/sales-mart/bin/python -m pip uninstall --quiet --yes sales-mart
COPY README.md LICENSE ./
COPY src src
COPY dbt dbt
RUN /opt/sales-mart/bin/python -m pip wheel --quiet --no-deps --wheel-dir /wheel \
        --build-constraint constraints.txt . \
    && /opt/sales-mart/bin/python -m pip install --quiet --no-deps --no-compile \
        --prefix /opt/sales-mart --root /package /wheel/*.whl
# What no step imports goes: build tools, and what dbt-bigquery brings for models in Python and for
# data frames. Whole distributions are uninstalled, so that scanners find no package that is not
# there; of those that stay go tests, headers, Arrow's servers and S3, and the locales that only dates
# of other languages need. The root file system is read-only in the cluster, so bytecode is written here
# or never. The last line sees that all that is used is still there.
RUN /opt/sales-mart/bin/python -m pip uninstall --quiet --yes \
        db-dtypes distro docstring-parser fastjsonschema google-auth-oauthlib \
        google-cloud-aiplatform google-cloud-dataproc google-cloud-resource-manager google-genai \
        grpc-google-iam-v1 jupyter-core nbformat oauthlib pandas pandas-gbq pydata-google-auth \
        requests-oauthlib setuptools traitlets websockets \
    && /opt/sales-mart/bin/python -m pip uninstall --quiet --yes pip \
    && cd /opt/sales-mart/lib/python3*/site-packages \
    && rm -rf pyarrow/tests pyarrow/include pyarrow/src pyarrow/libarrow_flight* pyarrow/_flight* \
        pyarrow/libarrow_s3* pyarrow/_s3fs* \
    && find numpy -type d -name tests -prune -exec rm -rf {} + \
    && find babel/locale-data -name '*.dat' ! -name 'root.dat' ! -name 'en*.dat' -delete \
    && { python3 -m compileall -q -j 0 /opt/sales-mart/lib > /dev/null || true; } \
    && python3 -m compileall -q /package \
    && PYTHONPATH=$(echo /package/opt/sales-mart/lib/python3*/site-packages) /opt/sales-mart/bin/python -c "from sales_mart.dbt_runner import adapters; adapters.replace_postgres(); adapters.replace_bigquery(); import dbt.cli.main, google.cloud.storage, numpy, pgpq, polars_hash, psycopg, pyarrow.parquet, python_calamine, sales_mart.api.app, sales_mart.cli, sales_mart.steps.pipeline, uvicorn.loops.uvloop, uvicorn.protocols.http.httptools_impl"

FROM ${BASE_IMAGE}
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="sales_mart" \
      org.opencontainers.image.description="Raw sales transactions into the same trusted sales mart in PostgreSQL and BigQuery" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /opt/sales-mart /opt/sales-mart
COPY --from=build /package/opt/sales-mart /opt/sales-mart
# What is written at run time, dbt's files among it, goes to /tmp: the only place to mount.
ENV PATH=/opt/sales-mart/bin:$PATH \
    HOME=/tmp \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    DO_NOT_TRACK=1
USER 10001:10001
WORKDIR /tmp
ENTRYPOINT ["sales-mart"]
CMD ["--help"]
