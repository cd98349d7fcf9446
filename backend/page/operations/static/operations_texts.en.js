// Every sentence of the operator's page. What an attempt waits for is explained by the service, as in `likeness attempts`.
const number = new Intl.NumberFormat("en");
const plural = (count, one, many) => `${number.format(count)} ${count === 1 ? one : many}`;

export const texts = {
  sign_in_title: "Operations", sign_in_lead: "What the queues, the attempts and the providers do now, and the commands that help.",
  secret_key: "Secret key", secret_key_hint: "The project's key that this service has (sb_secret_…). It stays in the memory of this tab and is sent to this service alone.",
  sign_in: "Sign in", continue_as: (user) => `Continue as ${user}`, or_user: "Users whose role is operator or viewer sign in at the page",
  page: "of this service", then_return: "and come back.", key_missing: "Enter the secret key.", signed_out: "You are signed out. The key is forgotten.",
  sign_out: "Sign out", looks: "may look, not change", session_ended: "Sign in again: the session has ended, or the key is not accepted any more.",
  as_of: (time) => `As of ${time}`, stale: (time) => `The service does not answer. This is how it was at ${time}.`,
  all_well: "Nothing needs you.", attention: "This needs attention",
  stuck_count: (count) => plural(count, "attempt stands still", "attempts stand still"),
  letter_count: (count) => plural(count, "dead letter", "dead letters"),
  unread: (queues) => `No consumer reads ${queues.length > 4 ? `${number.format(queues.length)} queues` : queues.join(", ")}`,
  overdue_count: (count) => `The sweep is late for ${plural(count, "attempt", "attempts")}`,
  sweep_errors: (count) => `The sweep cannot process ${plural(count, "row", "rows")}`,
  mirrors_count: (count, age) => `${plural(count, "mirror shows", "mirrors show")} an older version, for up to ${age}`,
  full: (provider) => `Every voice slot at ${provider} is taken`,
  late_erasures: (count, age) => `${plural(count, "erasure is", "erasures are")} not confirmed, for up to ${age}`,
  broken_consents: (count) => `${plural(count, "consent or anchor is", "consents or anchors are")} not as written.`,
  late_anchors: (age) => `A consent waits for its anchor, for ${age}`,
  checks_stopped: (provider, code) => `The check of the voices at ${provider} stopped: ${code}`,
  checks_late: (provider, age) => `The voices at ${provider} have not all been checked for ${age}`,
  silent_voices: (count, provider) => `${plural(count, "voice", "voices")} at ${provider} did not speak when made to, or may be deleted there as unused`,
  tile: { awaiting_upload: "Await their upload", queued: "Queued", processing: "Processing", job_slots: "Jobs that run", consumers: "Consumers", mirror: "Mirrors behind", takedowns: "Takedowns", erasures: "Open erasures" },
  for_employees: (count) => plural(count, "for an employee", "for employees"), frozen: (count) => plural(count, "attempt frozen", "attempts frozen"),
  of: (part, all) => `${number.format(part)} of ${number.format(all)}`, waiting_jobs: (count) => `${number.format(count)} wait`, for_up_to: (age) => `for up to ${age}`,
  reached_title: "Attempts", reached_lead: "How many ended how. The line: how many were queued.", window: "Time shown", hours: { 3: "3 hours", 24: "24 hours" },
  incomplete: "Older parts are still being read.",
  outcome: { ready: "ready", failed: "failed", cancelled: "cancelled", expired: "expired", queued: "queued" },
  errors_title: "Errors by provider", errors_lead: "Of the attempts that a provider ended: how many failed.", error_codes: "Error codes",
  rate: (failed, all) => `${number.format(failed)} of ${number.format(all)} failed (${new Intl.NumberFormat("en", { style: "percent", maximumFractionDigits: 1 }).format(all ? failed / all : 0)})`,
  latency_title: "Time until ready", latency_lead: "From queued to ready, within a fifth. Half of the attempts are faster than p50, one of a hundred is slower than p99.",
  no_attempts: "No attempt in this time.", as_table: "As a table", interval: "From", provider: "Provider", none: "none", total: "all",
  queues_title: "Queues", queue: "Queue", waiting: "Waiting", oldest: "Oldest", deferred: "Sent later", dead: "Dead letters",
  stuck_title: "Stand still", none_stuck: "No attempt stands still.", attempt: "Attempt", state: "State", since: "Since", why: "Why, and what helps", show: "Show", show_named: (id) => `Show attempt ${id}`,
  failed_title: "Failed in the last six hours", none_failed: "None of these is still failed.", error: "Error", retry: "Retry", retry_named: (id) => `Retry attempt ${id}`,
  retry_question: "Retry this attempt?", retry_text: "It starts again from the step that failed, and uses one of its user's retries. A create with an unknown outcome is looked up first.",
  retried: (status) => `Retried: it is ${status} now.`,
  letters_title: "Dead letters", none_dead: "There is no dead letter.", letter: "Letter", when: "When", reason: "Reason", subject: "About", choose_named: (id) => `Choose letter ${id}`,
  redrive: (count) => `Send ${plural(count, "letter", "letters")} again`, redrive_none: "Choose letters to send again",
  redrive_question: (count) => `Send ${plural(count, "letter", "letters")} again?`, redrive_text: "Remove the reason first, or they come back. A letter is sent once, also if someone else does the same.",
  redriven: (count) => `${plural(count, "letter was", "letters were")} sent again.`, choose_all: "Choose all", more_letters: "The newest 100 are listed.",
  slots_title: "Voices at providers", region: "Region", slots: "Slots", taken: "taken", orphans: "Orphans", deleted: "Deleted, still there", unlimited: (taken) => `${number.format(taken)}, no limit known`, no_places: "No provider has been used.",
  checks_title: "Checks of voices and consents", account: "Account", voices: "Voices", unchecked_for: "Not all checked for", last_answer: "Last answer",
  late: "late", answered: "ok", not_yet: "none yet", no_checks: "There is no voice to check, or the checks are switched off.",
  sound_consents: "Consents are as they were written.", no_anchors: "Anchors are switched off.",
  anchors: (all, open) => `${plural(all, "anchor", "anchors")}, ${number.format(open)} on the way.`,
  sweep: "Run the sweep", sweep_question: "Run the sweep now?", sweep_text: "It recovers what is overdue, as the consumers do by themselves. Running it often does no harm.",
  swept: (done) => (Object.keys(done).length ? `Swept: ${Object.entries(done).map(([what, count]) => `${what} ${count}`).join(", ")}.` : "Nothing was overdue."),
  find_title: "Look an attempt up", attempt_id: "Id of the attempt", find: "Look it up", not_an_id: "This is not the id of an attempt.",
  close: "Close", timeline: "Timeline", changes: "What changed", enrollments: "Create calls at the provider", label: "Label", request_id: "Request id", status: "Status", yes: "Yes", no: "No, leave it", later_times: "Times are those of this browser.",
  failed_call: "This did not work.", number_for_support: "Number for support:", network: "The service cannot be reached.",
};

export const count = (value) => number.format(value);

export const percent = (part) => new Intl.NumberFormat("en", { style: "percent", maximumFractionDigits: part < 0.1 ? 1 : 0 }).format(part);

// 0.04 s, 0.4 s, 2.5 s, 12 s, 3 min, 5 h, 2 d
export function duration(seconds) {
  for (const [unit, size] of [["d", 86_400], ["h", 3600], ["min", 60]]) {
    if (seconds >= size) return `${number.format(Math.floor(seconds / size))}\u00a0${unit}`;
  }
  return `${number.format(Number(seconds.toFixed(seconds < 1 ? 2 : seconds < 10 ? 1 : 0)))}\u00a0s`;
}

export const clock = (time, withSeconds = false) =>
  new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", ...(withSeconds && { second: "2-digit" }) }).format(new Date(time));

export const moment = (time) =>
  new Intl.DateTimeFormat("en-GB", { month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", second: "2-digit" }).format(new Date(time));
