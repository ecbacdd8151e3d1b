"""`make` installs with uv from where pip would: the same index, folders and certificate."""

from __future__ import annotations

import run_uv as script

LISTED = r"""global.index-url='https://index.example/simple'
global.cert='/first.pem'
global.extra-index-url='\nhttps://a.example/simple\nhttps://b.example/simple'
install.no-compile='yes'
:env:.find-links='/wheels /more'
:env:.default-timeout='180'
:env:.cert='/second.pem'
"""


def test_what_pip_is_told_reaches_uv() -> None:
    assert script.settings(LISTED) == {
        "UV_DEFAULT_INDEX": "https://index.example/simple",
        "UV_INDEX": "https://a.example/simple https://b.example/simple",
        "UV_FIND_LINKS": "/wheels,/more",
        "UV_HTTP_TIMEOUT": "180",
        "SSL_CERT_FILE": "/second.pem",
    }


def test_a_machine_without_settings_needs_none() -> None:
    assert script.settings("") == {}
