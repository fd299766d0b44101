"""A real kernel of a notebook, and what its cells show."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Shown:
    """What one cell of a notebook shows: pictures, text by stream, and the states of widgets."""

    images: int = 0
    text: dict[str, str] = field(default_factory=lambda: {"stdout": "", "stderr": ""})
    widgets: list[dict[str, Any]] = field(default_factory=list)


@contextmanager
def new_kernel() -> Iterator[Any]:
    """The client of a kernel, which ends with the block."""
    from jupyter_client.manager import start_new_kernel

    manager, client = start_new_kernel(kernel_name="python3")
    try:
        yield client
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def run_cell(client: Any, code: str) -> Shown:
    """What a cell shows; an error in it is one of the test."""
    shown = Shown()

    def look(message: dict[str, Any]) -> None:
        content = message["content"]
        if message["msg_type"] == "error":
            raise AssertionError("\n".join(content["traceback"]))
        if message["msg_type"] == "stream":
            shown.text[content["name"]] += content["text"]
        if message["msg_type"] in ("comm_open", "comm_msg"):
            shown.widgets.append(content["data"].get("state", {}))
        shown.images += "image/png" in content.get("data", {})

    client.execute_interactive(code, output_hook=look, timeout=300)
    return shown
