// The main job as an application's page does it: supabase-js, fetch, and the microphone.

const RECORDED_MS = 8000;

/** What a page may read of an answer is what CORS lets it read. */
async function answerOf(response) {
  const json = response.headers.get("content-type")?.includes("json");
  return {
    status: response.status,
    requestId: response.headers.get("x-request-id"),
    body: json ? await response.json() : await response.arrayBuffer(),
  };
}

async function record() {
  const audio = { echoCancellation: false, noiseSuppression: false, autoGainControl: false };
  const stream = await navigator.mediaDevices.getUserMedia({ audio });
  const recorder = new MediaRecorder(stream, { mimeType: "audio/webm;codecs=opus" });
  const pieces = [];
  recorder.ondataavailable = (event) => pieces.push(event.data);
  const stopped = new Promise((resolve) => (recorder.onstop = resolve));
  recorder.start(500);
  await new Promise((resolve) => setTimeout(resolve, RECORDED_MS));
  recorder.stop();
  await stopped;
  stream.getTracks().forEach((track) => track.stop());
  return new Blob(pieces, { type: recorder.mimeType });
}

/** Server-sent events by fetch, for EventSource sends no token. Resolves with the names until `last` came. */
async function follow(url, token, last) {
  const names = [];
  const response = await fetch(url, { headers: { authorization: `Bearer ${token}` } });
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  while (!names.includes(last)) {
    const { value, done } = await reader.read();
    if (done) break;
    text += value;
    const events = text.split("\n\n");
    text = events.pop();
    for (const event of events) {
      const data = event.split("\n").find((line) => line.startsWith("data: "));
      if (data) names.push(...JSON.parse(data.slice(6)).events);
    }
  }
  await reader.cancel();
  return names;
}

async function secondsOf(bytes) {
  return (await new OfflineAudioContext(1, 1, 24000).decodeAudioData(bytes)).duration;
}

window.walk = async ({ supabaseUrl, publishableKey, apiUrl }) => {
  const result = {};
  const say = (text) => {
    document.querySelector("#steps").append(Object.assign(document.createElement("li"), { textContent: text }));
  };
  const supabase = window.supabase.createClient(supabaseUrl, publishableKey);
  const email = `ada-${crypto.randomUUID()}@example.org`;
  const signedUp = await supabase.auth.signUp({ email, password: "a long password" });
  if (signedUp.error) throw signedUp.error;
  const token = signedUp.data.session.access_token;
  const call = async (path, body, method = body === undefined ? "GET" : "POST") => {
    const headers = { authorization: `Bearer ${token}`, "content-type": "application/json" };
    const answer = await answerOf(await fetch(apiUrl + path, { method, headers, body: JSON.stringify(body) }));
    if (answer.status >= 300) throw Object.assign(new Error(`${path}: ${answer.body.code}`), answer);
    return answer.body;
  };

  const { data: reflection } = await supabase.from("reflections").insert({ name: "Ada" }).select().single();
  const { consent_id } = await call("/v1/consents", { statement: "voice_clone", locale: "en", version: 1 });
  say("signed up, and consented");

  const blob = await record();
  result.recorded = { type: blob.type, bytes: blob.size };
  say(`recorded ${blob.size} bytes of ${blob.type}`);

  const upload = await call("/api/clone/upload-url", {
    consent_id,
    reflection_id: reflection.id,
    content_type: blob.type,
    bytes: blob.size,
  });
  const stored = await supabase.storage
    .from("voice-samples")
    .uploadToSignedUrl(upload.path, upload.token, blob);
  if (stored.error) throw stored.error;
  say("uploaded");

  const finalized = { voice_id: upload.voice_id, name: "My voice", language: "en" };
  result.voice = await call("/api/clone/finalize", finalized);
  const events = `${apiUrl}/v1/voice-clone-attempts/${upload.attempt_id}/events`;
  result.events = await follow(events, token, "preview_rendered");
  say(`followed: ${result.events.join(", ")}`);

  const voice = `/v1/reflections/${reflection.id}/voice`;
  const { preview_url } = await call(voice);
  result.previewSeconds = await secondsOf((await answerOf(await fetch(preview_url))).body);
  await call(`${voice}/preview/complete`, undefined, "POST");
  result.gate = await call(`/v1/reflections/${reflection.id}/launch-gate`);
  say(`heard ${result.previewSeconds.toFixed(1)} s of preview; the gate: ${JSON.stringify(result.gate)}`);

  const speech = await call("/api/generate", { voice_id: upload.voice_id, text: "Hello from a browser." });
  result.speechSeconds = await secondsOf(speech);
  say(`the voice spoke for ${result.speechSeconds.toFixed(1)} s`);

  try {
    await call("/api/clone/finalize", { ...finalized, voice_id: crypto.randomUUID() });
  } catch (refused) {
    result.refused = { status: refused.status, code: refused.body.code, requestId: refused.requestId };
  }
  const { data: mirror } = await supabase.from("reflections").select("voice").eq("id", reflection.id).single();
  result.mirror = mirror.voice;
  return result;
};
