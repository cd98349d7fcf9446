// Calls of the service, the Data API and Storage. They wait and try again where waiting helps.
import { waitingFor } from "./dom.js";
import { AuthError, currentSession, publishableKey, supabaseUrl } from "./session.js";
import { texts } from "./texts.en.js";

const PATIENCE_MS = 120_000; // for a service that is down; a lost network is waited for without an end
const LONGEST_WAIT_MS = 30_000; // of a Retry-After; the user decides about longer ones
const SILENCE_MS = 45_000; // of an event stream, which sends a comment each 15 s

export class Problem extends Error {
  constructor({ code = "unknown", detail = "", request_id: requestId, ...more }, status = 0) {
    super(code);
    Object.assign(this, { code, detail, requestId, status, more });
  }
}

const later = (ms, signal) => new Promise((resolve, reject) => {
  const done = () => { clearTimeout(timer); removeEventListener("online", done); resolve(); };
  const timer = setTimeout(done, ms);
  addEventListener("online", done);
  signal?.addEventListener("abort", () => { clearTimeout(timer); reject(signal.reason); }, { once: true });
});

const isNetwork = (error) => error.name === "TypeError" || (error instanceof AuthError && error.status === 0);

// How long to wait before the same request again, or null where that does not help.
function waitAfter(answer, started) {
  const wait = Number(answer.headers.get("retry-after")) * 1000;
  const helps = answer.status === 503 || ([409, 429].includes(answer.status) && wait > 0);
  if (!helps || wait > LONGEST_WAIT_MS || Date.now() - started > PATIENCE_MS) return null;
  return Math.max(wait, 1000);
}

// `fetch` with the caller's token. A lost network, an expired token and a 503 resume by themselves.
export async function request(url, { headers = {}, signal, ...options } = {}) {
  const started = Date.now();
  let refused = null;
  try {
    for (let tries = 0; ; tries += 1) {
      let wait = Math.min(1000 * 2 ** tries, 8000);
      try {
        const session = await currentSession(refused);
        if (!session) throw new Problem({ code: "session_ended" }, 401);
        const authorization = `Bearer ${session.access_token}`;
        const answer = await fetch(url, { ...options, signal, headers: { ...headers, authorization } });
        if (answer.status === 401 && refused === null) {
          refused = session.access_token;
          continue;
        }
        const again = waitAfter(answer, started);
        if (again === null) return answer;
        wait = again;
        waitingFor(texts.waiting_service);
      } catch (error) {
        const isDown = error instanceof AuthError && error.status >= 500;
        if (signal?.aborted || !(isNetwork(error) || isDown)) throw error;
        waitingFor(texts.waiting_network);
      }
      await later(wait, signal);
    }
  } finally {
    waitingFor("");
  }
}

async function content(answer) {
  const isJson = answer.headers.get("content-type")?.includes("json");
  if (answer.ok) return isJson ? answer.json() : answer.status === 204 ? null : answer.blob();
  throw new Problem(isJson ? await answer.json().catch(() => ({})) : {}, answer.status);
}

// A POST has a key, so that the same call after a lost answer creates nothing twice.
export async function call(path, { method = "GET", body, signal } = {}) {
  const headers = {};
  if (method === "POST") headers["idempotency-key"] = newId();
  if (body instanceof FormData) return content(await request(path, { method, signal, headers, body }));
  if (body !== undefined) headers["content-type"] = "application/json";
  return content(await request(path, { method, signal, headers, body: body && JSON.stringify(body) }));
}

export function newId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16)); // randomUUID exists only with https
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  return Array.from(bytes, (each) => each.toString(16).padStart(2, "0")).join("").replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
}

export async function data(path, { method = "GET", body, signal } = {}) {
  const headers = { apikey: publishableKey, "content-type": "application/json", prefer: "return=representation" };
  const url = `${supabaseUrl}/rest/v1/${path}`;
  return content(await request(url, { method, signal, headers, body: body && JSON.stringify(body) }));
}

// An object of the user's own, by its bucket and path.
export async function file(path, { signal } = {}) {
  const url = `${supabaseUrl}/storage/v1/object/authenticated/${path}`;
  const answer = await request(url, { headers: { apikey: publishableKey }, signal });
  if (!answer.ok) throw new Problem({ code: answer.status < 500 ? "file_missing" : "storage_unavailable" }, answer.status);
  return answer.blob();
}

// By the signed address, which needs no token. XMLHttpRequest, because fetch tells no progress.
export async function upload(url, file, onprogress, signal) {
  for (;;) {
    const status = await new Promise((resolve, reject) => {
      const sending = new XMLHttpRequest();
      sending.open("PUT", url);
      sending.setRequestHeader("content-type", file.type);
      sending.upload.onprogress = ({ loaded, total }) => onprogress(loaded / total);
      sending.onload = () => resolve(sending.status);
      sending.onerror = () => resolve(0);
      sending.onabort = () => reject(signal.reason);
      signal.addEventListener("abort", () => sending.abort(), { once: true });
      sending.send(file);
    });
    waitingFor("");
    if (status === 200 || status === 409) return status; // 409: an earlier try arrived
    if (status !== 0 && status < 500 && status !== 429) throw new Problem({ code: "upload_refused" }, status);
    waitingFor(status ? texts.waiting_service : texts.waiting_network);
    await later(2000, signal).finally(() => waitingFor(""));
  }
}

// The attempt's events from the first one on, until nothing more can come or `signal` aborts.
export async function follow(attemptId, onevent, signal) {
  let last = 0;
  while (!signal.aborted) {
    const connection = new AbortController();
    const end = () => connection.abort();
    signal.addEventListener("abort", end, { once: true });
    let watch = 0;
    try {
      const headers = last ? { "last-event-id": String(last) } : {};
      const answer = await request(`/v1/voice-clone-attempts/${attemptId}/events`, { headers, signal: connection.signal });
      if (answer.status === 204) return;
      if (!answer.ok) await content(answer);
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      let text = "";
      for (;;) {
        clearTimeout(watch);
        watch = setTimeout(end, SILENCE_MS);
        const { value, done } = await reader.read();
        if (done) break;
        const blocks = (text + value).split("\n\n");
        text = blocks.pop();
        for (const block of blocks) {
          const found = /^id: (\d+)\ndata: (.*)$/m.exec(block);
          if (!found) continue;
          last = Number(found[1]);
          onevent(JSON.parse(found[2]));
        }
      }
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof Problem) throw error;
    } finally {
      clearTimeout(watch);
      signal.removeEventListener("abort", end);
    }
    await later(1000, signal).catch(() => {});
  }
}
