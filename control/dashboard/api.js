/** Control's HTTP API, and what it pushes. */

const BASE = "/api/ingestion";

/** The decoded answer; an error's message is the problem's detail. */
export async function call(method, path, body) {
  let response;
  try {
    response = await fetch(path.startsWith("/") ? BASE + path : path, {
      method,
      headers: body === undefined ? {} : {"Content-Type": "application/json"},
      body: body === undefined ? undefined : JSON.stringify(body),
    });
  } catch {
    throw new Error("Headrace can't be reached: is it running?");
  }
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) throw new Error(answer.detail ?? `${response.status} ${response.statusText}`);
  return answer;
}

export const get = (path) => call("GET", path);
export const post = (path, body = {}) => call("POST", path, body);

/** Query string of what is given. */
export const query = (given) => {
  const kept = Object.entries(given).filter(([, value]) => value !== null && value !== undefined && value !== "");
  return kept.length ? `?${new URLSearchParams(kept)}` : "";
};

/** What is known of all knowledge bases, by id; `changed` events tell which one (null: all of them). */
class Known extends EventTarget {
  kbs = new Map();
  statuses = new Map();
  connected = false;

  watch() {
    const source = new EventSource(`${BASE}/events`);
    const on = (kind, act) => source.addEventListener(kind, (event) => {
      const data = JSON.parse(event.data);
      act(data);
      this.tell(data.kb_id ?? null);
    });
    on("reset", () => { this.kbs.clear(); this.statuses.clear(); });
    on("kb", (kb) => this.kbs.set(kb.kb_id, kb));
    on("status", (status) => this.statuses.set(status.kb_id, status));
    on("deleted", ({kb_id}) => { this.kbs.delete(kb_id); this.statuses.delete(kb_id); });
    source.onopen = () => { this.connected = true; this.tell(null); };
    source.onerror = () => {
      this.connected = false;
      this.tell(null);
      if (source.readyState === EventSource.CLOSED) setTimeout(() => this.watch(), 3000);
    };
  }

  tell(kb) {
    this.dispatchEvent(new CustomEvent("changed", {detail: kb}));
  }
}

export const known = new Known();
