"""What exports call the columns of a sale: names by their meaning, the likelier ones first.

Names are compared without case, accents, white space and punctuation, and without what stands in
brackets behind them: `UnitPrice`, `unit_price` and `Unit price (EUR)` are one name.
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache
from typing import Literal, get_args

__all__ = ["CENTS", "Meaning", "compared", "is_known", "meanings", "rank"]

Meaning = Literal[
    "transaction_id",
    "line",
    "product",
    "price",
    "quantity",
    "amount",
    "discount",
    "date",
    "currency",
    "person",
]
"""What a column is called by its name; `line` is the line of an order."""

# English, German, French, Spanish, Indonesian; one line for each group of names.
_NAMES: dict[Meaning, str] = {
    "transaction_id": """
        transaction id, transaction no, transaction number, transaction, trans id, trx id, trx no
        sale id, sales id, sale no, order id, order no, order number, order nr, orderid, order
        invoice id, invoice no, invoice number, invoice, bill no, bill id, bill number
        receipt id, receipt no, receipt number, receipt, ticket id, ticket no, payment id
        balance transaction id, amazon order id, sales order number, document no, charge id
        bestellnummer, bestell nr, auftragsnummer, auftrag nr, rechnungsnummer, rechnungs nr
        rechnung nr, rechnung, belegnummer, beleg nr, bonnummer, bon nr, transaktions id
        numero de commande, no commande, commande, numero de facture, facture, ticket
        numero de pedido, no pedido, pedido, numero de factura, factura, id transaccion
        no pesanan, nomor pesanan, no faktur, nomor faktur, no invoice, no nota, id transaksi
        no transaksi, kode transaksi, nomor transaksi
        id, name
    """,
    "line": """
        line, line no, line number, line id, line item, line item id, order line, order line id
        order item id, order item no, item no, item number, row id, row no, sequence, seq
        position, pos, zeile, zeilennummer, ligne, no ligne, linea, no linea, baris, no baris
    """,
    "product": """
        product name, item name, lineitem name, product title, product, item, item description
        article name, article, product description, description, title, menu item, goods
        produktname, produkt, artikelbezeichnung, artikelname, artikel, bezeichnung, ware
        nom du produit, produit, libelle, designation, article
        nombre del producto, producto, articulo, descripcion
        nama produk, nama barang, produk, barang
        product line, product id, product code, item id, item code, sku, lineitem sku, stockcode
        artikelnummer, artikel nr, kode produk, kode barang, asin
    """,
    "price": """
        price per unit, unit price, price each, item price, lineitem price, sale price
        selling price, sales price, product price, price, item cost, unit cost, list price
        price cents, unit price cents, price in cents, unit amount, unit amount cents
        einzelpreis, stueckpreis, stuckpreis, verkaufspreis, preis
        prix unitaire, prix de vente, prix, precio unitario, precio de venta, precio
        harga satuan, harga jual, harga
    """,
    "quantity": """
        quantity, qty, quantity ordered, order quantity, quantity sold, quantity purchased
        lineitem quantity, item quantity, units, units sold, no of units, pieces, pcs, count
        menge, anzahl, stueck, stuck, stueckzahl, stuckzahl, quantite, qte, nombre
        cantidad, unidades, cant, jumlah, kuantitas, qty terjual, jumlah barang
    """,
    "amount": """
        line total, total amount, total price, total sales, line amount, item total, item subtotal
        amount, net sales, net amount, sales, sales amount, total, subtotal, net total
        order line subtotal, total spent, revenue, turnover, gross sales, gross amount, net
        line total cents, amount cents, gross, product sales, extended price, extended amount
        gesamtpreis, gesamtbetrag, zeilensumme, positionssumme, summe, betrag, umsatz, gesamt
        montant, montant total, total ligne, chiffre d affaires
        importe, importe total, monto, total linea, ventas
        total harga, jumlah harga, subtotal harga, total penjualan, penjualan
    """,
    "discount": """
        discount, discounts, discount amount, line discount, item discount, discount percent
        lineitem discount, rabatt, nachlass, remise, reduction, descuento, diskon, potongan
    """,
    "date": """
        order date, sale date, sales date, transaction date, invoice date, purchase date
        order purchase timestamp, date of sale, date ordered, date, datetime, date time, day
        order created at, created at, created, created utc, created date, date created, event date
        order time, transaction time, timestamp, time stamp, sold at, paid at, paid date
        posted date, posting date, receipt date, bill date, processed at, completed at
        datum, bestelldatum, auftragsdatum, rechnungsdatum, belegdatum, verkaufsdatum, kaufdatum
        date de commande, date commande, date de facture, date de vente, date facture
        fecha, fecha de pedido, fecha pedido, fecha de factura, fecha de venta
        tanggal, tgl, tanggal transaksi, tanggal pesanan, tanggal pembelian, tanggal penjualan
    """,
    "currency": """
        currency, currency code, curr, transaction currency, order currency, waehrung, wahrung
        waehrungscode, devise, monnaie, moneda, divisa, mata uang
    """,
    "person": """
        email, e mail, mail, email address, e mail address, customer email, buyer email, phone
        phone number, telephone, mobile, mobile number, customer phone, billing phone
        shipping phone, fax, customer name, customer, client, client name, buyer name, buyer
        recipient name, recipient, cardholder, cardholder name, card number, iban, full name
        first name, last name, surname, name, contact, contact name, user name, username, address
        street, billing name, shipping name, billing address, shipping address
        billing address 1, billing address 2, shipping address 1, shipping address 2
        billing address1, billing address2, shipping address1, shipping address2
        billing street, shipping street, billing first name, billing last name, shipping first name
        shipping last name, first name billing, last name billing, first name shipping
        last name shipping, address 1 2 billing, address 1 2 shipping, email billing
        phone billing, ship name, ship address, customer id, customer no, customer number
        client id, buyer id, user id, member id, customer unique id, birthday, date of birth
        ip, ip address, cashier, cashier name, staff, salesperson, sales person, employee
        customer details, customer reference id, device name, notes, note
        kunde, kundenname, kundennummer, kunden nr, telefon, handy, adresse, strasse, vorname
        nachname, kassierer, verkaeufer, verkaufer, geburtsdatum
        nom, prenom, nom du client, nom client, telephone, courriel, adresse, vendeur, caissier
        nombre del cliente, cliente, nombre cliente, apellido, correo, correo electronico
        telefono, direccion, vendedor, cajero
        nama pelanggan, pelanggan, nama pembeli, pembeli, nama penerima, no telepon, no hp
        nomor telepon, alamat, nama, kasir
    """,
}
CENTS = re.compile(r"cents?\b|_cents?|minor units?|pence|centimes", re.IGNORECASE)
"""What a name says whose numbers are of the hundredth part of a currency."""
_BRACKETS = re.compile(r"[(\[{][^)\]}]*[)\]}]")
_PLAIN = str.maketrans({"ß": "ss", "ø": "o", "æ": "ae", "œ": "oe", "№": "no", "#": "no", "°": "o"})


def compared(name: str) -> str:
    """Return a name as names are compared here."""
    shorter = _BRACKETS.sub("", name)
    folded = unicodedata.normalize("NFKD", name if not shorter.strip() else shorter)
    letters = "".join(each for each in folded.casefold().translate(_PLAIN) if each.isalnum())
    return letters or "".join(name.split()).casefold()


@cache
def _ranks() -> dict[Meaning, dict[str, int]]:
    """Return the place of each name among those of its meaning."""
    return {
        meaning: {
            name: place
            for place, name in reversed(
                list(enumerate(map(compared, re.split(r",|\n", _NAMES[meaning].strip()))))
            )
        }
        for meaning in get_args(Meaning)
    }


def rank(name: str, meaning: Meaning) -> int | None:
    """Return how likely a column of this name has a meaning: 0 is the likeliest, None is not."""
    return _ranks()[meaning].get(compared(name))


def meanings(name: str) -> tuple[Meaning, ...]:
    """Return what a column may be by its name."""
    return tuple(each for each in get_args(Meaning) if rank(name, each) is not None)


def is_known(name: str) -> bool:
    """Return whether exports of sales have columns of this name."""
    return bool(meanings(name))
