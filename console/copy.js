// Copies a text, where the browser allows it; else it selects the text.

import { element, setText } from "./dom.js";

const SHOWN = 1500;

/** A button that copies `text`, which `node` shows. */
export function copyButton(node, text, what) {
  const button = element("button", { type: "button", class: "copy", "aria-label": `Copy ${what}` }, "copy");
  button.addEventListener("click", async () => {
    setText(button, (await isCopied(node, text)) ? "copied" : "selected");
    setTimeout(() => setText(button, "copy"), SHOWN);
  });
  return button;
}

async function isCopied(node, text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // Not allowed, or not over plain HTTP: Ctrl+C does the rest.
    getSelection().selectAllChildren(node);
    return false;
  }
}
