// @supabase/supabase-js, unchanged, on a private channel: `node realtime.mjs <url> <publishable key>`. Prints the id of its user
// once it is subscribed, and the first transition that it receives as JSON; throws where a stranger may subscribe as well.

import assert from "node:assert/strict";
import { createClient } from "@supabase/supabase-js";

const [url, publishableKey] = process.argv.slice(2);

async function signUp() {
  const client = createClient(url, publishableKey, { auth: { persistSession: false, autoRefreshToken: false } });
  const credentials = { email: `${crypto.randomUUID()}@example.com`, password: crypto.randomUUID() };
  const { data, error } = await client.auth.signUp(credentials);
  if (error) throw error;
  return { client, id: data.user.id };
}

function subscribe({ client }, topic, onMessage, isPrivate = true) {
  const channel = client
    .channel(topic, { config: { private: isPrivate } })
    .on("broadcast", { event: "voice_clone_attempt.changed" }, onMessage);
  return new Promise((resolve) => channel.subscribe((status, error) => resolve({ status, error, channel })));
}

const owner = await signUp();
const stranger = await signUp();
const topic = `voice_clone:user:${owner.id}`;
const foreign = [];
const received = new Promise((resolve, reject) => {
  subscribe(owner, topic, resolve).then(async (mine) => {
    assert.equal(mine.status, "SUBSCRIBED");
    const theirs = await subscribe(stranger, topic, (message) => foreign.push(message));
    assert.equal(theirs.status, "CHANNEL_ERROR");
    assert.match(theirs.error.message, /Unauthorized/);
    await stranger.client.removeAllChannels();
    const unauthorised = await subscribe(stranger, topic, (message) => foreign.push(message), false);
    assert.equal(unauthorised.status, "SUBSCRIBED"); // to the public topic of that name, which has other messages
    console.log(owner.id);
  }).catch(reject);
});
const message = await received;
assert.deepEqual(foreign, []);
assert.equal(message.type, "broadcast");
await owner.client.auth.signOut();
await owner.client.removeAllChannels();
await stranger.client.removeAllChannels();
console.log(JSON.stringify(message.payload));
process.exit(0);
