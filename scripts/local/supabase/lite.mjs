// Auth and Data API: @supabase/lite embedded, so that it serves and nothing else. Its command line would also
// create tables, replace auth.uid() and, on the first request, grant every right on every table to anon.
// Settings come as JSON in LITE_SETTINGS; a line "listening" on stdout says that it does.

import { createHmac, timingSafeEqual } from "node:crypto";
import { createAdaptorServer } from "@hono/node-server";
import { App } from "@supabase/lite";
import { PostgresConnection } from "@supabase/lite/postgres";

const settings = JSON.parse(process.env.LITE_SETTINGS);

class HostedConnection extends PostgresConnection {
  // Every request runs as its role; grants are the migrations' business.
  async ensureRlsContext() {
    return true;
  }
}

// Postgres prints 2026-11-20 00:13:37.92+00; clients expect ISO 8601, as the hosted services answer.
const isoTimestamp = (text) => text.replace(" ", "T").replace(/([+-]\d\d)$/, "$1:00");
const timestamptz = { to: 1184, from: [1184], serialize: (value) => value, parse: isoTimestamp };

const connection = new HostedConnection({
  url: settings.database_url,
  postgresOptions: { max: 10, onnotice: () => {}, types: { timestamptz } },
});

// Opaque keys and the two JWTs of old projects open the same doors.
const keys = new Map([
  [settings.publishable_key, { type: "publishable", claims: { role: "anon" } }],
  [settings.anon_key, { type: "publishable", claims: { role: "anon" } }],
  [settings.secret_key, { type: "secret", claims: { role: "service_role" } }],
  [settings.service_role_key, { type: "secret", claims: { role: "service_role" } }],
]);

const app = new App({
  connection,
  api: { schemas: settings.schemas },
  auth: {
    enabled: true,
    jwt_secret: settings.jwt_secret,
    jwt_expiry: settings.jwt_expiry,
    site_url: settings.site_url,
    enable_signup: true,
    publishable_key: settings.publishable_key,
    secret_key: settings.secret_key,
    email: { enable_signup: true, enable_confirmations: false },
  },
  options: { server: { admin: false, apiKeys: { resolver: async (key) => keys.get(key) ?? null } } },
});
await app.init();

const signature = (content) => createHmac("sha256", settings.jwt_secret).update(content).digest();

// Lite leaves out the issuer, which a hosted token names. Only what Lite itself signed is signed again.
function withIssuer(token) {
  const [header, payload, signed] = token.split(".");
  const found = Buffer.from(signed ?? "", "base64url");
  const expected = signature(`${header}.${payload}`);
  if (found.length !== expected.length || !timingSafeEqual(found, expected)) return token;
  const claims = { iss: settings.issuer, ...JSON.parse(Buffer.from(payload, "base64url")) };
  const content = `${header}.${Buffer.from(JSON.stringify(claims)).toString("base64url")}`;
  return `${content}.${signature(content).toString("base64url")}`;
}

async function answer(request, env) {
  const response = await app.fetch(request, { peerAddress: env.incoming.socket.remoteAddress ?? null });
  if (!new URL(request.url).pathname.startsWith("/auth/v1/")) return response;
  const headers = new Headers(response.headers);
  const location = headers.get("location");
  if (location) {
    headers.set("location", location.replace(/(access_token=)([\w.-]+)/, (_, name, token) => name + withIssuer(token)));
  }
  if (!headers.get("content-type")?.startsWith("application/json")) {
    return new Response(response.body, { status: response.status, headers });
  }
  const body = await response.json();
  if (typeof body?.access_token === "string") body.access_token = withIssuer(body.access_token);
  headers.delete("content-length");
  return new Response(JSON.stringify(body), { status: response.status, headers });
}

const server = createAdaptorServer({ fetch: answer });
server.listen(settings.port, "127.0.0.1", () => console.log("listening"));

process.on("SIGTERM", () => {
  server.closeAllConnections();
  server.close();
  connection.close().finally(() => process.exit(0));
});
