// Requests to the service. Every failure becomes a Refusal, which holds one sentence to show.

export class Refusal extends Error {
  constructor(sentence, status = 0) {
    super(sentence);
    this.status = status; // 0: the service cannot be reached
  }
}

const UNREACHABLE = "The service cannot be reached.";

export async function ask(path, options = {}) {
  let answer;
  try {
    answer = await fetch(path, options);
  } catch {
    throw new Refusal(UNREACHABLE);
  }
  if (!answer.ok) throw await refusal(answer.status, await answer.text());
  return answer.status === 204 ? null : answer.json();
}

function refusal(status, text) {
  let detail = "";
  try {
    detail = JSON.parse(text).detail;
  } catch {
    // the answer is no problem document; a proxy may have sent it
  }
  const sentence = detail || `The service answered ${status}.`;
  const named = /^\S*\.\w/.test(sentence); // the sentence begins with the name of a file
  return new Refusal(named ? sentence : sentence[0].toUpperCase() + sentence.slice(1), status);
}

// Sends one picture. `told` is called with the part that is sent so far, which fetch() cannot report.
export function send(file, told, signal) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    const body = new FormData();
    body.append("sources", file, file.name);
    request.upload.onprogress = (event) => told(event.loaded / event.total);
    request.onload = () => {
      if (request.status === 201) resolve(JSON.parse(request.responseText).pictures[0]);
      else reject(refusal(request.status, request.responseText));
    };
    request.onerror = () => reject(new Refusal(UNREACHABLE));
    request.onabort = () => reject(new Refusal("The upload was cancelled."));
    signal.addEventListener("abort", () => request.abort());
    request.open("POST", "v1/pictures");
    request.send(body);
  });
}

export function begin(work, ids, options) {
  const query = new URLSearchParams(options);
  return ask(`v1/${work}?${query}`, {
    method: "POST",
    headers: { "Content-Type": "application/json", Prefer: "respond-async" },
    body: JSON.stringify({ sources: ids }),
  });
}

// Follows a job to its end and survives lost connections. `told` is called with the job's state whenever that
// changes, and with null when the connection is lost.
export function follow(job, told, signal) {
  return new Promise((resolve, reject) => {
    const events = new EventSource(job.links.events);
    const end = (settle, value) => {
      events.close();
      settle(value);
    };
    events.addEventListener("job", (event) => {
      const news = JSON.parse(event.data);
      told(news);
      if (news.state === "done") end(resolve, news);
      if (news.state === "failed") end(reject, refusal(news.problem.status, JSON.stringify(news.problem)));
    });
    events.addEventListener("error", () => {
      told(null);
      // The browser reconnects by itself, unless the service answers that it has no such job.
      if (events.readyState === EventSource.CLOSED) {
        ask(job.links.self).then(
          () => end(reject, new Refusal(UNREACHABLE)),
          (error) => end(reject, error),
        );
      }
    });
    signal.addEventListener("abort", () => end(reject, new Refusal("The work was cancelled.")));
  });
}

export function forget(link) {
  ask(link, { method: "DELETE" }).catch(() => {}); // a failure is harmless: the service deletes it later anyway
}
