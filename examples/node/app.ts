// Clone a voice from a file, follow the clone, and let it speak. See README.md.

import { readFile, writeFile } from "node:fs/promises";
import { createClient } from "@supabase/supabase-js";
import { client } from "./likeness/client.gen.ts";
import {
  completePreview, finalizeUpload, followAttempt, generateSpeech, getLaunchGate, getReflectionVoice, listStatements, openUpload,
  signConsent, startSession,
} from "./likeness/sdk.gen.ts";

const { LIKENESS_URL, SUPABASE_URL, SUPABASE_PUBLISHABLE_KEY, EMAIL, PASSWORD } = process.env as Record<string, string>;
const [sample, speech] = process.argv.slice(2);

const supabase = createClient(SUPABASE_URL, SUPABASE_PUBLISHABLE_KEY);
const { data: { session: signedIn }, error } = await supabase.auth.signInWithPassword({ email: EMAIL, password: PASSWORD });
if (!signedIn) throw error;
client.setConfig({ baseUrl: LIKENESS_URL, auth: signedIn.access_token, throwOnError: true });

const reflection = (await supabase.from("reflections").insert({ name: "Ada" }).select().single()).data!;
const path = { reflection_id: reflection.id as string };

// Sign, upload, finalize.
const statement = (await listStatements({ throwOnError: true })).data.find((each) => each.locale === "en")!;
console.log(statement.body);
const consent = (await signConsent({ body: { version: statement.version }, throwOnError: true })).data;
const content = await readFile(sample);
const upload = (await openUpload({
  body: { consent_id: consent.consent_id, content_type: "audio/wav", bytes: content.length, reflection_id: reflection.id },
  throwOnError: true,
})).data;
const stored = await supabase.storage.from("voice-samples")
  .uploadToSignedUrl(upload.path, upload.token, content, { contentType: "audio/wav" });
if (stored.error) throw stored.error;
const attempt = (await finalizeUpload({
  body: { voice_id: upload.voice_id, name: "My voice", language: "en" }, throwOnError: true,
})).data;
console.log(`attempt ${attempt.attempt_id}: ${attempt.status}`);

// Server-sent events, from the first one, until the preview is rendered. After a break the client resumes by itself.
const { stream } = await followAttempt({ path: { attempt_id: attempt.attempt_id } });
for await (const event of stream) {
  console.log(...event.events);
  const { status, preview_status: preview, error_message: message } = event.changes as Record<string, string>;
  if (status === "failed" || preview === "failed") throw new Error(message);
  if (preview === "rendered") break;
}

// Hear the preview, pass the gate, start a session, speak.
const shown = (await getReflectionVoice({ path, throwOnError: true })).data;
console.log(`preview: ${(await (await fetch(shown.preview_url!)).arrayBuffer()).byteLength} bytes`);
await completePreview({ path });
const gate = (await getLaunchGate({ path, throwOnError: true })).data;
if (!gate.launchable) throw new Error(`not launchable: ${gate.blockers.join(", ")}`);
const session = (await startSession({ path, throwOnError: true })).data;
const spoken = (await generateSpeech({
  body: { voice_id: session.voice_id, text: "Hello. This is my new voice." }, throwOnError: true,
})).data;
const bytes = Buffer.from(await (spoken as Blob).arrayBuffer());
await writeFile(speech, bytes);
console.log(`${speech}: ${bytes.length} bytes`);
process.exit(); // the Supabase client keeps a timer
