// Calls of the service. The secret key is kept in this module and nowhere else: a reload forgets it.
import { AuthError, currentSession, readSession } from "./session.js";

let secretKey = null;
let isUser = false;

export class Problem extends Error {
  constructor({ code = "unknown", detail = "", help = "", request_id: requestId }, status = 0) {
    super(detail || code);
    Object.assign(this, { code, detail, help, requestId, status });
  }
}

export const signedInUser = () => readSession()?.user?.email ?? null;

export function useSecretKey(key) { [secretKey, isUser] = [key, false]; }
export function useSession() { [secretKey, isUser] = [null, true]; }
export function forget() { [secretKey, isUser] = [null, false]; }

async function token(refused) {
  if (!isUser) return secretKey;
  const session = await currentSession(refused);
  if (!session) throw new Problem({ code: "session_ended" }, 401);
  return session.access_token;
}

// Throws a Problem. The token of a user that is refused is replaced once; nothing else is tried again.
export async function call(path, { method = "GET", body, signal } = {}) {
  let refused = null;
  for (;;) {
    let answer;
    const given = await token(refused).catch((error) => { throw error instanceof AuthError ? new Problem({ code: "network" }) : error; });
    try {
      const headers = { authorization: `Bearer ${given}`, ...(method === "POST" && { "content-type": "application/json" }) };
      answer = await fetch(`/operations/${path}`, { method, headers, signal, cache: "no-store", body: body && JSON.stringify(body) });
    } catch (error) {
      if (signal?.aborted) throw error;
      throw new Problem({ code: "network" });
    }
    if (answer.status === 401 && isUser && refused === null) {
      refused = given;
      continue;
    }
    const content = await answer.json().catch(() => ({}));
    if (!answer.ok) throw new Problem(content, answer.status);
    return content;
  }
}
