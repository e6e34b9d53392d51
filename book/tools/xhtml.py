"""An extension of Sphinx for e-books: formulas as MathML, and HTML written by hand as XML.

`book.tools.printed` loads it. Readers of EPUB 3 typeset MathML themselves, without a script.
"""

from typing import Any

from bs4 import BeautifulSoup
from docutils import nodes
from latex2mathml.converter import convert
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util.math import get_node_equation_number


class WellFormed(SphinxPostTransform):
    """Close what HTML leaves open, and name each attribute's value."""

    default_priority = 900
    builders = ("epub",)

    def run(self, **kwargs: Any) -> None:
        """Rewrite every piece of HTML of a page."""
        for node in self.document.findall(nodes.raw):
            if "html" in node.get("format", ""):
                text = BeautifulSoup(node.astext(), "html.parser").decode(formatter="minimal")
                node.children = [nodes.Text(text)]


def inline(self: Any, node: nodes.math) -> None:
    """Write a formula within a line."""
    self.body.append(convert(node.astext()))
    raise nodes.SkipNode


def display(self: Any, node: nodes.math_block) -> None:
    """Write a formula on a line of its own, with its number if it has one."""
    self.body.append(self.starttag(node, "div", CLASS="math"))
    if node["number"]:
        self.body.append(f'<span class="eqno">({get_node_equation_number(self, node)})</span>')
    self.body.append(convert(node.astext(), display="block") + "</div>")
    raise nodes.SkipNode


def as_pair(app: Sphinx, config: Config) -> None:
    """Make the pair that YAML cannot express."""
    config.epub_cover = tuple(config.epub_cover)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.add_html_math_renderer("mathml", (inline, None), (display, None))
    app.connect("config-inited", as_pair)
    app.add_post_transform(WellFormed)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
