// The theme's Font Awesome replaces <i> by <svg>. A widget's button keeps a reference to its <i>,
// so let the <svg> go inside: without this the Play widget dies at its first click.
window.FontAwesomeConfig = { autoReplaceSvg: "nest" };
