/** Control's HTTP API, and what it pushes: the one place where requests are made. */

const BASE = "/api/ingestion";
const AWAY = "Headrace can't be reached: is it running?";
/** Control itself never answers so. */
const BY_A_PROXY = [502, 504];

/** The decoded answer; an error's message is the problem's detail, its `status` that of the answer. */
export async function call(method, path, body, headers = {}) {
  const request = new Request(BASE + path, {  // throws where it can't be sent at all
    method,
    headers: body === undefined ? headers : {...headers, "Content-Type": "application/json"},
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  let response;
  try {
    response = await fetch(request);
  } catch {
    throw new Error(AWAY);
  }
  if (BY_A_PROXY.includes(response.status)) throw Object.assign(new Error(AWAY), {status: response.status});
  const answer = await response.json().catch(() => ({}));
  if (response.status === 401) known.leave();
  if (!response.ok) throw Object.assign(new Error(answer.detail ?? `${response.status} ${response.statusText}`), {status: response.status});
  return answer;
}

export const get = (path) => call("GET", path);
export const post = (path, body = {}, headers = {}) => call("POST", path, body, headers);

/** Query string of what is given. */
export const query = (given) => {
  const kept = Object.entries(given).filter(([, value]) => value !== null && value !== undefined && value !== "");
  return kept.length ? `?${new URLSearchParams(kept)}` : "";
};

/** What is known of all knowledge bases, by id; `changed` events tell which one (null: all of them); `renewed`, that who asks may be allowed other things now. */
class Known extends EventTarget {
  kbs = new Map();
  statuses = new Map();
  connected = false;
  /** Whether what is there has been told once. */
  told = false;
  source = null;

  watch() {
    this.source?.close();
    const source = this.source = new EventSource(`${BASE}/events`);
    const on = (kind, act) => source.addEventListener(kind, (event) => {
      const data = JSON.parse(event.data);
      act(data);
      this.tell(data.kb_id);
    });
    on("kb", (kb) => this.kbs.set(kb.kb_id, kb));
    on("status", (status) => this.statuses.set(status.kb_id, status));
    on("deleted", ({kb_id}) => { this.kbs.delete(kb_id); this.statuses.delete(kb_id); });
    source.addEventListener("reset", () => {
      if (this.told) this.dispatchEvent(new CustomEvent("renewed"));
      this.kbs.clear();
      this.statuses.clear();
      setTimeout(() => { this.told = true; this.tell(null); }, 200);  // all there is follows at once
    });
    source.onopen = () => this.line(true);
    source.onerror = () => {
      this.line(false);
      if (source.readyState === EventSource.CLOSED) setTimeout(() => this.again(source), 3000);
    };
  }

  /** Asks first who this is: the stream doesn't say why it is refused. */
  async again(source) {
    if (this.source !== source) return;
    await call("GET", "/whoami").catch(() => null);
    if (this.source === source) this.watch();
  }

  /** A token is asked for: nothing that was seen stays. */
  leave() {
    this.source?.close();
    this.source = null;
    this.kbs.clear();
    this.statuses.clear();
    this.told = false;
    this.dispatchEvent(new CustomEvent("login"));
  }

  line(connected) {
    this.connected = connected;
    this.dispatchEvent(new CustomEvent("line"));
  }

  tell(kb) {
    this.dispatchEvent(new CustomEvent("changed", {detail: kb}));
  }
}

export const known = new Known();
