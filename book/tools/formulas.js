// Draws formulas: reads [[tex, display], ...] as JSON, writes their HTML and its style sheet.
//   node formulas.js FOLDER_OF_MATHJAX < formulas.json
const {readFileSync} = require("fs");

require(`${process.argv[2]}/node-main.js`).init({
  loader: {load: ["input/tex-full", "output/svg", "a11y/assistive-mml"]},
  options: {enableAssistiveMml: true},
  svg: {fontCache: "none"},
}).then((MathJax) => {
  const {adaptor} = MathJax.startup;
  const formulas = JSON.parse(readFileSync(0, "utf8"));
  const drawn = formulas.map(([tex, display]) => adaptor.outerHTML(MathJax.tex2svg(tex, {display})));
  console.log(JSON.stringify({drawn, style: adaptor.textContent(MathJax.svgStylesheet())}));
});
