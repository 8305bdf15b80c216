/** A form that shows what a site's first page would become, what the whole would cost, and starts it. */

import {h, card, faint, figures, fill, lacks, note, outside, problem, tiles} from "/dashboard/dom.js";
import {bytes, dollars, duration, milliseconds, number, plural} from "/dashboard/format.js";
import {known, post} from "/dashboard/api.js";
import {nameOf} from "/dashboard/names.js";

export function fresh() {
  const field = (name, label, hint, attributes) => h("div", {class: "field"},
    h("label", {for: name}, label), h("input", {id: name, name, autocomplete: "off", "aria-describedby": hint ? `${name}-hint` : null, ...attributes}),
    hint && h("p", {class: "hint", id: `${name}-hint`}, hint));
  const chosen = (name, label, options) => h("div", {class: "field"}, h("label", {for: name}, label), h("select", {id: name, name}, options.map(([value, says]) => h("option", {value}, says))));
  const shown = h("div", {class: "shown", "aria-live": "polite"}, card("Look before you start", h("p", {}, "“Preview” reads the first page and shows the chunks that it would become. “Estimate” reads a sample of the site and tells pages, tokens, dollars and minutes. Neither stores anything.")));
  const form = h("form", {class: "card", onsubmit: (event) => { event.preventDefault(); run(event.submitter); }},
    field("url", "Address of the site", "Pages below it are read.", {type: "url", required: true, placeholder: "https://docs.example.org/guide/", oninput: ({target}) => propose(target.value)}),
    field("name", "Name", "Small letters, digits and hyphens.", {required: true, pattern: "[a-z0-9][a-z0-9_\\-]{0,63}", oninput: () => { named = true; }}),
    h("fieldset", {}, h("legend", {}, "Scope"), h("div", {class: "fields"},
      field("include", "Only paths", "Globs, parted by spaces, such as /guide/**", {}), field("exclude", "Not paths", null, {}),
      field("max_pages", "Pages at most", null, {type: "number", min: 1, placeholder: "10000"}))),
    h("fieldset", {}, h("legend", {}, "Embedding"), h("div", {class: "fields"},
      chosen("provider", "By", [["", "as control is set up"], ["openai", "OpenAI, or a server like it"], ["local", "the model on this machine"]]),
      field("model", "Model", null, {placeholder: "the provider's usual one"}),
      field("max_usd", "Dollars at most", "The job is paused before the call that would pass them.", {type: "number", min: 0, step: "any"}))),
    h("fieldset", {}, h("legend", {}, "Chunks"), h("div", {class: "fields"},
      chosen("strategy", "Cut", [["structure", "by headings"], ["sentences", "between sentences"], ["tokens", "anywhere"]]),
      field("max_tokens", "Tokens at most", null, {type: "number", min: 1, placeholder: "the model's usual"}))),
    h("details", {}, h("summary", {}, "Private networks"),
      field("allow_addresses", "Addresses that may be reached", "Ranges, parted by spaces, such as 10.0.0.0/8 or 127.0.0.0/8. Public ones always may.", {})),
    h("div", {class: "actions"}, h("button", {type: "submit", name: "preview", class: "quiet"}, "Preview"),
      h("button", {type: "submit", name: "estimate", class: "quiet"}, "Estimate"), h("button", {type: "submit", name: "start"}, "Start")));
  /** The name follows the address until a person writes one. */
  const propose = (url) => {
    if (!named) form.elements.name.value = nameOf(url);
  };
  let busy = false, named = false;
  const run = async (submitter) => {
    if (busy) return;
    busy = true;
    const act = {preview, estimate, start}[submitter?.name ?? "preview"];
    fill(shown, card(null, h("p", {}, act === start ? "Starting…" : "Reading the site…")));
    try {
      fill(shown, await act(definitionOf(new FormData(form)), form.elements.name.value));
    } catch (error) {
      fill(shown, problem(error));
      if (error.networks) form.querySelector("details").open = true;
    } finally {
      busy = false;
    }
  };
  const element = h("div", {}, h("div", {class: "title"}, h("h1", {}, "New knowledge base")),
    lacks("admin", "A knowledge base is defined by an administrator: your token may not."), h("div", {class: "halves", "data-needs": "admin"}, form, shown));
  return {element, title: "New knowledge base"};
}

function definitionOf(data) {
  const list = (name) => data.get(name).split(/\s+/).filter(Boolean);
  const filled = (entries) => Object.fromEntries(entries.filter(([, value]) => value !== "" && value !== null));
  const count = (name) => (data.get(name) === "" ? null : Number(data.get(name)));
  return {
    source: filled([["urls", [data.get("url")]], ["include", list("include")], ["exclude", list("exclude")], ["max_pages", count("max_pages")], ["allow_addresses", list("allow_addresses")]]),
    chunking: filled([["strategy", data.get("strategy")], ["max_tokens", count("max_tokens")]]),
    embedding: filled([["provider", data.get("provider")], ["model", data.get("model")]]),
    budget: filled([["max_usd", count("max_usd")]]),
  };
}

/** The start that was sent last: again by the same key until its answer comes, so that one whose answer was lost is no second one. */
let sent = {of: "", key: ""};

async function start(definition, name) {
  const of = JSON.stringify([name, definition]);
  if (sent.of !== of) sent = {of, key: freshKey()};
  try {
    await post(`/kb/${name}/start`, definition, {"If-None-Match": "*", "Idempotency-Key": sent.key});
    sent = {of: "", key: ""};
  } catch (error) {
    if (error.status === 412) return taken(name);
    throw error;
  }
  location.hash = `#/kb/${name}`;
  return null;
}

/** Not of randomUUID, which there is only over HTTPS and on this machine. */
const freshKey = () => Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");

function taken(name) {
  const [first] = known.kbs.get(name)?.definition.source.urls ?? [];
  return h("div", {class: "note bad", role: "alert"},
    h("p", {}, "There is a knowledge base ", h("a", {href: `#/kb/${name}`}, name), " already", first && [", of ", outside(first)], ". Nothing is started: choose another name."),
    h("p", {}, "To change what that one reads, see ", h("a", {href: `#/kb/${name}/definition`}, "its definition"), "."));
}

async function estimate(definition, name) {
  const found = await post(`/kb/${name}/start`, {...definition, dry_run: true});
  const range = (of, say) => (of ? h("span", {title: `between ${say(of.low)} and ${say(of.high)}`}, say(of.expected)) : "unknown");
  const between = (of, say) => (of ? `${say(of.low)} to ${say(of.high)}` : "–");
  const whole = (value) => number(Math.round(value)), minutes = (value) => duration(value * 60);
  const rows = [["Pages", found.pages, whole], ["Chunks", found.chunks, whole], ["Tokens", found.tokens, whole], ["New tokens", found.new_tokens, whole], ["Dollars", found.usd, dollars], ["Time", found.minutes, minutes]];
  return card("Estimate", tiles(rows.map(([label, of, say]) => [label, range(of, say)])), figures(rows.map(([label, of, say]) => [`${label}, between`, between(of, say)])),
    faint(`${found.whole ? "All of it was read" : "From a sample"}: ${plural(found.sampled, "page")} asked for, ${number(found.with_content)} with content; ${number(found.known)} addresses are known. Model: ${found.model}.`));
}

async function preview(definition) {
  const found = await post("/preview", definition);
  if (found.needs_addresses) {
    throw Object.assign(new Error(`${found.url} is on a private network, which is read only where it is allowed (${found.reason}). If it is yours, add ${found.needs_addresses} under “Private networks”.`), {networks: true});
  }
  if (found.problem) throw new Error(`${found.url}: ${found.reason}`);
  const tokens = found.chunks.reduce((sum, each) => sum + each.tokens, 0);
  return [card(found.title || found.url, found.skipped && note("warn", h("p", {}, `A crawl would leave it out: ${found.skipped}`)),
    tiles([["Chunks", number(found.chunks.length)], ["Tokens", number(tokens)], ["Links", number(found.links.length)], ["Size", bytes(found.bytes)], ["Language", found.language ?? "–"], ["Fetched in", milliseconds(found.fetch_ms)]])),
    h("ol", {class: "chunks"}, found.chunks.map((chunk, index) => h("li", {class: "card"},
      h("h3", {}, `Chunk ${index + 1}`, h("span", {class: "score"}, plural(chunk.tokens, "token"))), faint(chunk.heading_path.join(" › ")),
      h("pre", {tabindex: "0", "aria-label": `Text of chunk ${index + 1}`}, parted(chunk)))))];
}

/** What stands in the chunk before, too, is told by its shade; counts are of characters, not of JavaScript's halves. */
function parted({text, repeated}) {
  const characters = [...text];
  return [repeated > 0 && h("span", {class: "faint", title: "stands in the chunk before, too"}, characters.slice(0, repeated).join("")), characters.slice(repeated).join("")];
}
