// Browsers start no workers from files, so the search would not work where the site is opened as a folder: there, the
// worker's script runs in a hidden frame. The theme would load such a stand-in from the network; this one is ours.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super();
      const frame = document.createElement("iframe");
      frame.hidden = true;
      const inside = new Promise((resolve) => {
        frame.addEventListener("load", () => {
          const scope = frame.contentWindow;
          const load = (address) => new Promise((done, failed) => {
            const script = scope.document.createElement("script");
            Object.assign(script, { src: address, onload: done, onerror: failed });
            scope.document.head.append(script);
          });
          scope.postMessage = (data) => this.#tell(data);
          scope.importScripts = (...addresses) =>
            addresses.reduce((before, address) => before.then(() => load(address)), Promise.resolve());
          load(url).then(() => resolve(scope));
        }, { once: true });
      });
      this.postMessage = (data) => inside.then((scope) => scope.dispatchEvent(new scope.MessageEvent("message", { data })));
      this.terminate = () => frame.remove();
      frame.srcdoc = "<!doctype html>";
      document.body.append(frame);
    }

    #tell(data) {
      const event = new MessageEvent("message", { data });
      this.dispatchEvent(event);
      this.onmessage?.(event);
    }
  };
}
