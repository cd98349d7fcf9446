// The session, kept as supabase-js keeps it: the same key, the same JSON, the same lock.
export const { supabaseUrl, publishableKey } = document.body.dataset;
const KEY = `sb-${new URL(supabaseUrl).hostname.split(".")[0]}-auth-token`;
const MARGIN = 90; // refreshed this many seconds before it expires

export class AuthError extends Error {
  constructor(code, status = 0) { super(code); this.code = code; this.status = status; }
}

export async function callAuth(path, body, token, method = body ? "POST" : "GET") {
  let answer;
  try {
    answer = await fetch(`${supabaseUrl}/auth/v1/${path}`, {
      method,
      headers: {
        apikey: publishableKey,
        "content-type": "application/json",
        ...(token && { authorization: `Bearer ${token}` }),
      },
      body: body && JSON.stringify(body),
    });
  } catch {
    throw new AuthError("network");
  }
  const content = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new AuthError(content.error_code ?? content.error ?? "unknown", answer.status);
  return content;
}

export function readSession() {
  try {
    const session = JSON.parse(localStorage.getItem(KEY));
    return session?.access_token && session.refresh_token ? session : null;
  } catch {
    return null;
  }
}

export function keepSession(session) {
  session.expires_at ??= Math.floor(Date.now() / 1000) + session.expires_in;
  localStorage.setItem(KEY, JSON.stringify(session));
}

// Pages without TLS have no locks; two of them may then refresh at once, which Auth allows within seconds.
const locked = (work) => (navigator.locks ? navigator.locks.request(`lock:${KEY}`, work) : work());

// Null when nobody is signed in. An outage of Auth keeps the session. `refused` is a token to be replaced.
export function currentSession(refused = null) {
  return locked(async () => {
    const session = readSession();
    const isFresh = session && session.expires_at - MARGIN > Date.now() / 1000;
    if (!session || (isFresh && session.access_token !== refused)) return session;
    try {
      keepSession(await callAuth("token?grant_type=refresh_token", { refresh_token: session.refresh_token }));
    } catch (error) {
      if (error.status === 0 || error.status >= 500 || error.status === 429) throw error;
      localStorage.removeItem(KEY);
    }
    return readSession();
  });
}

// The tokens leave the address before anything else happens.
const addressValues = () => new URLSearchParams(location.hash.slice(1));
export const isSessionInAddress = () => ["access_token", "error"].some((name) => addressValues().has(name));

export async function takeSessionFromAddress() {
  const values = addressValues();
  if (!isSessionInAddress()) return;
  history.replaceState(null, "", location.pathname);
  if (values.has("error")) throw new AuthError("link_refused");
  const user = await callAuth("user", undefined, values.get("access_token"));
  keepSession({
    access_token: values.get("access_token"),
    refresh_token: values.get("refresh_token"),
    expires_in: Number(values.get("expires_in")),
    expires_at: Number(values.get("expires_at")) || undefined,
    token_type: values.get("token_type"),
    user,
  });
}

export async function signOut() {
  const session = readSession();
  localStorage.removeItem(KEY);
  if (session) await callAuth("logout?scope=local", {}, session.access_token).catch(() => {});
}

export function oauthAddress(provider) {
  const back = encodeURIComponent(location.origin + location.pathname);
  return `${supabaseUrl}/auth/v1/authorize?provider=${encodeURIComponent(provider)}&redirect_to=${back}`;
}

export const onOtherTab = (show) =>
  addEventListener("storage", ({ key }) => { if (key === KEY || key === null) show(); });
