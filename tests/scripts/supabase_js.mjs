// @supabase/supabase-js, unchanged, on the local stack: `node supabase_js.mjs <url> <publishable key> <secret key>`.
// Prints one JSON line; throws where an answer is not what a hosted project gives.

import assert from "node:assert/strict";
import { createClient } from "@supabase/supabase-js";

const [url, publishableKey, secretKey] = process.argv.slice(2);
const options = { auth: { persistSession: false, autoRefreshToken: false } };
const client = createClient(url, publishableKey, options);
const service = createClient(url, secretKey, options);

async function unwrap(answer) {
  const { data, error } = await answer;
  if (error) throw error;
  return data;
}

const credentials = { email: `${crypto.randomUUID()}@example.com`, password: crypto.randomUUID() };
const { user } = await unwrap(client.auth.signUp(credentials));
await unwrap(client.auth.signInWithPassword(credentials));
const { session } = await unwrap(client.auth.refreshSession());
assert.equal(session.user.id, user.id);
assert.ok(!Number.isNaN(Date.parse(user.created_at)));
const wrong = await client.auth.signInWithPassword({ ...credentials, password: "wrong" });
assert.equal(wrong.error.code, "invalid_credentials");

const [reflection] = await unwrap(client.from("reflections").insert({ name: "Ada" }).select());
assert.equal(reflection.user_id, user.id);
const [renamed] = await unwrap(client.from("reflections").update({ name: "Eve" }).eq("id", reflection.id).select());
assert.equal(renamed.name, "Eve");
const stranger = createClient(url, publishableKey, options);
await unwrap(stranger.auth.signUp({ email: `${crypto.randomUUID()}@example.com`, password: crypto.randomUUID() }));
assert.deepEqual(await unwrap(stranger.from("reflections").select()), []);
const forbidden = await client.from("reflections").update({ voice: { cloneStatus: "ready" } }).eq("id", reflection.id);
assert.equal(forbidden.error.code, "42501");
const attempts = client.from("voice_clone_attempts");
const everything = await attempts.select();
assert.equal(everything.error.code, "42501");
const shown = "id, status, runtime_status, preview_status, error_code, error_message, created_at, updated_at";
assert.deepEqual(await unwrap(attempts.select(shown).eq("reflection_id", reflection.id)), []);
const embedded = await unwrap(client.from("reflections").select("id, voice_clone_attempts(id, status)"));
assert.deepEqual(embedded.map((row) => row.id), [reflection.id]);
const absent = await client.rpc("no_such_function");
assert.equal(absent.error.code, "PGRST202");

const path = `${user.id}/${crypto.randomUUID()}.wav`;
const sound = new Blob([Uint8Array.from({ length: 400 }, (_, index) => index % 200)], { type: "audio/wav" });
const bucket = service.storage.from("voice-samples");
const signed = await unwrap(bucket.createSignedUploadUrl(path));
const mine = client.storage.from("voice-samples");
await unwrap(mine.uploadToSignedUrl(path, signed.token, sound, { contentType: "audio/wav" }));
const again = await mine.uploadToSignedUrl(path, signed.token, sound, { contentType: "audio/wav" });
assert.equal(again.error.message, "The resource already exists");
const { signedUrl } = await unwrap(bucket.createSignedUrl(path, 60));
const part = await fetch(signedUrl, { headers: { range: "bytes=0-9" } });
assert.equal(part.status, 206);
assert.equal(part.headers.get("content-range"), "bytes 0-9/400");
assert.equal((await part.arrayBuffer()).byteLength, 10);
assert.equal((await unwrap(mine.download(path))).size, 400);
const info = await unwrap(mine.info(path));
assert.equal(info.contentType, "audio/wav");
assert.equal(info.size, 400);
const listed = await unwrap(mine.list(user.id));
assert.deepEqual(listed.map((entry) => entry.name), [path.split("/")[1]]);
const theirs = await stranger.storage.from("voice-samples").download(path);
assert.ok(theirs.error);
const removed = await unwrap(bucket.remove([path]));
assert.deepEqual(removed.map((entry) => entry.name), [path]);
assert.equal((await bucket.exists(path)).data, false);

console.log(JSON.stringify({ user: user.id, reflection: reflection.id }));
process.exit(0);
