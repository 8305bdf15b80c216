/** The form that makes a knowledge base: what a page's chunks would be, what all would come to, then the start. */

import {h, fill, bytes, dollars, duration, number, problem, tiles} from "/dashboard/dom.js";
import {call, post} from "/dashboard/api.js";

export function fresh() {
  const field = (name, label, hint, attributes) => [
    h("label", {for: name}, label), h("input", {id: name, name, "aria-describedby": hint ? `${name}-hint` : null, ...attributes}),
    hint && h("p", {class: "hint", id: `${name}-hint`}, hint)];
  const chosen = (name, label, options) => [h("label", {for: name}, label), h("select", {id: name, name}, options.map(([value, says]) => h("option", {value}, says)))];
  const shown = h("div", {"aria-live": "polite"});
  const form = h("form", {onsubmit: (event) => { event.preventDefault(); run(event.submitter); }},
    field("url", "Address of the site", "Pages below it are read.", {type: "url", required: true, placeholder: "https://docs.example.org/guide/"}),
    field("name", "Name", "Small letters, digits and hyphens.", {required: true, pattern: "[a-z0-9](?:[a-z0-9_\\-]{0,63})", autocomplete: "off"}),
    h("fieldset", {}, h("legend", {}, "Scope"),
      field("include", "Only paths", "Globs, parted by spaces, such as /guide/**", {}), field("exclude", "Not paths", null, {}),
      field("max_pages", "Pages at most", null, {type: "number", min: 1, placeholder: "10000"})),
    h("fieldset", {}, h("legend", {}, "Embedding"),
      chosen("provider", "By", [["", "as control is set up"], ["openai", "OpenAI, or a server like it"], ["local", "the model on this machine"]]),
      field("model", "Model", null, {placeholder: "the provider's usual one"}), field("max_usd", "Dollars at most", "The job is paused before the call that would pass them.", {type: "number", min: 0, step: "any"})),
    h("details", {}, h("summary", {}, "Private networks"),
      field("allow_addresses", "Addresses that may be reached", "Ranges, parted by spaces, such as 10.0.0.0/8 or 127.0.0.0/8. Public ones always may.", {})),
    h("div", {class: "actions"}, h("button", {type: "submit", name: "preview", class: "quiet"}, "Preview the page"),
      h("button", {type: "submit", name: "estimate", class: "quiet"}, "Estimate"), h("button", {type: "submit", name: "start"}, "Start")));

  const run = async (submitter) => {
    const act = {preview, estimate, start}[submitter?.name ?? "start"];
    const buttons = [...form.querySelectorAll("button")];
    buttons.forEach((button) => { button.disabled = true; });
    fill(shown, h("p", {}, act === start ? "Starting…" : "Reading the site…"));
    try {
      fill(shown, await act(definitionOf(new FormData(form)), form.elements.name.value));
    } catch (error) {
      fill(shown, problem(error));
    } finally {
      buttons.forEach((button) => { button.disabled = false; });
    }
  };
  return {element: h("div", {}, h("h1", {}, "New knowledge base"), form, shown), title: "New knowledge base"};
}

function definitionOf(data) {
  const list = (name) => data.get(name).split(/\s+/).filter(Boolean);
  const filled = (entries) => Object.fromEntries(entries.filter(([, value]) => value !== "" && value !== null));
  const count = (name) => (data.get(name) === "" ? null : Number(data.get(name)));
  return {
    source: filled([["urls", [data.get("url")]], ["include", list("include")], ["exclude", list("exclude")], ["max_pages", count("max_pages")], ["allow_addresses", list("allow_addresses")]]),
    embedding: filled([["provider", data.get("provider")], ["model", data.get("model")]]),
    budget: filled([["max_usd", count("max_usd")]]),
  };
}

async function start(definition, name) {
  await post(`/kb/${name}/start`, definition);
  location.hash = `#/kb/${name}`;
  return null;
}

async function estimate(definition, name) {
  const found = await post(`/kb/${name}/start`, {...definition, dry_run: true});
  return [h("h2", {}, "Estimate"), h("pre", {tabindex: "0"}, JSON.stringify(found, null, 2))];
}

async function preview(definition) {
  const found = await call("POST", "/preview", definition);
  if (found.problem) throw new Error(`${found.url}: ${found.reason}`);
  return [h("h2", {}, found.title || found.url),
    found.skipped && h("div", {class: "note warn"}, `A crawl would leave it out: ${found.skipped}`),
    tiles([["Status", number(found.status)], ["Size", bytes(found.bytes)], ["Chunks", number(found.chunks.length)], ["Tokens", number(found.chunks.reduce((sum, each) => sum + each.tokens, 0))], ["Links", number(found.links.length)], ["Language", found.language ?? "–"]]),
    found.chunks.map((chunk, index) => h("article", {class: "hit"}, h("h3", {}, `Chunk ${index + 1}, ${number(chunk.tokens)} tokens`), h("p", {class: "faint"}, chunk.heading_path.join(" › ")), h("pre", {tabindex: "0"}, chunk.text)))];
}
