// The widgets' script asks for its fonts in @jupyter-widgets/html-manager/dist/ below RequireJS' base, which is else the page's folder.
requirejs.config({ baseUrl: new URL("vendor", document.currentScript.src).href });
