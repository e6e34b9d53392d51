"""Tells Pillow about `.mrdc` files, as soon as somebody loads Pillow.

`import mrdcae_lite` shall neither load Pillow nor depend on whether Pillow is loaded before or
after it, and Pillow has no list of plugins that could be added to from outside. So a finder (of
`sys.meta_path`, see "The meta path" in Python's reference of the import system) waits for the
module `PIL.Image`. What is registered imports the plugin when it is first called.
"""

import sys
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

FORMAT = "MRDC"
_AWAITED = "PIL.Image"


def register_with_pillow() -> None:
    """Register the plugin now if Pillow is loaded, and otherwise when it is."""
    if _AWAITED in sys.modules:
        _register(sys.modules[_AWAITED])
    else:
        sys.meta_path.insert(0, _Finder)


class _Finder:
    """Leaves the finding to all others, and has the plugin registered after the module has run."""

    @classmethod
    def find_spec(cls, name: str, _path: Any = None, _target: Any = None) -> ModuleSpec | None:
        if name != _AWAITED:
            return None
        from importlib.util import find_spec

        sys.meta_path.remove(cls)
        spec = find_spec(name)
        if spec is not None and spec.loader is not None:
            loader: Any = spec.loader

            def run_and_register(module: ModuleType) -> None:
                del loader.exec_module  # its own method is back
                loader.exec_module(module)
                _register(module)

            loader.exec_module = run_and_register
        return spec


def _register(pillow: Any) -> None:
    def plugin() -> Any:
        from mrdcae_lite.io import pillow_plugin

        return pillow_plugin

    pillow.register_open(
        FORMAT, lambda *file: plugin().MrdcImageFile(*file), lambda start: plugin().accepts(start)
    )
    pillow.register_save(FORMAT, lambda *picture: plugin().save(*picture))
    pillow.register_save_all(FORMAT, lambda *pictures: plugin().save_all(*pictures))
    pillow.register_extension(FORMAT, ".mrdc")
    pillow.register_mime(FORMAT, "image/x-mrdc")
