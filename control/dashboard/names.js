/** A name for the knowledge base of an address, by the same rule as the command line's (headrace/cli/addresses.py). */

/** From host and path; empty where the address is none yet. */
export function nameOf(address) {
  if (!URL.canParse(address)) return "";
  const {protocol, host, pathname} = new URL(address);
  if (!/^https?:$/.test(protocol)) return "";
  return `${host}${pathname}`.toLowerCase().replace(/\.(html?|php|aspx?)$/, "").replace(/^www\./, "")
    .replace(/%[2-7][0-9a-f]|[^a-z0-9]/g, "-").replace(/-+/g, "-").replace(/^-|-$/g, "").slice(0, 64).replace(/-$/, "");
}
