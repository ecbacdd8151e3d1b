"""What runs the documentation notices when a page is wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import documentation
from documentation import blocks, environment, run_page

if TYPE_CHECKING:
    from pathlib import Path

PAGE = """
```sh
mkdir -p there && cd there
export WORD=hello
```

1. In a list:

    ```sh
    echo "$WORD"; pwd; echo 42 seconds
    ```

    <!-- output -->
    ```text
    hello
    …
    … seconds
    ```

<!-- exit 3 -->
```sh
echo lost; exit 3
```

<!-- output -->
```text
lost
```

```python
import os
print(os.environ["WORD"], os.path.basename(os.getcwd()))
```

<!-- output -->
```text
hello there
```

<!-- stays up -->
```sh
sh -c 'echo "postgresql://postgres@127.0.0.1:7777/x ends with Ctrl-C"; exec sleep 60'
```

```sh
echo 'postgresql://postgres@127.0.0.1:1/mine'
```

<!-- output -->
```text
postgresql://postgres@127.0.0.1:7777/x
```

<!-- not run: because -->
```sh
false
```
"""


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(documentation, "ROOT", tmp_path)
    (tmp_path / "work").mkdir()
    return tmp_path / "page.md"


def run_text(page: Path, text: str) -> None:
    page.write_text(text, encoding="utf-8")
    run_page(page, page.parent / "work", environment(page.parent, []))


def test_a_page_that_is_right_passes(page: Path) -> None:
    run_text(page, PAGE)


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("hello\n    …", "hullo\n    …"),
        ("… seconds", "… minutes"),
        ("exit 3 -->", "exit 2 -->"),
        ("<!-- exit 3 -->\n", ""),
        ("```text\nlost", "```text\nlost\nfound"),
        ("hello there", "hello here"),
        ("127.0.0.1:7777/x\n", "127.0.0.1:1/mine\n"),
        ("<!-- not run: because -->\n", ""),
    ],
)
def test_a_page_that_is_wrong_fails(page: Path, right: str, wrong: str) -> None:
    assert right in PAGE
    with pytest.raises(AssertionError):
        run_text(page, PAGE.replace(right, wrong))


def test_a_comment_counts_for_the_block_right_below_it_only(page: Path) -> None:
    page.write_text("<!-- not run: why -->\ntext\n```sh\ntrue\n```\n```sh\nfalse\n```\n")
    assert [block.marker for block in blocks(page)] == ["", ""]
