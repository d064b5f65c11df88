// The widgets' script speaks to MathJax 2 (Hub.Queue(["Typeset", Hub, element])); the pages have MathJax 3,
// and a page without a formula has none.
if (window.MathJax) {
  window.MathJax.Hub = {
    Queue: ([, , element]) => window.MathJax.startup.promise.then(() => window.MathJax.typesetPromise([element])),
  };
}
