// The page: it takes files, has one button, and shows the result.

import { Refusal, ask, begin, follow, forget } from "./api.js";
import { $, announce, make, time } from "./dom.js";
import { Result } from "./result.js";
import { Sources } from "./sources.js";

// Options that the page shows: a name, and what it says about them.
const LABELS = {
  task: ["Kind of scene", "Decides how moving things are found."],
  "infrared-palette": ["Infrared palette", "Colours of a thermal picture, for temperature."],
  align: ["Alignment", "How freely frames may be moved until they line up."],
  deghost: ["Movement", "Shows each moving thing as one frame has it."],
  weights: ["Network", "paper: the paper's network, for two pictures."],
  precision: ["Precision", "Automatic: the fastest that is accurate enough."],
};
const EXAMPLES = { exposure: "Exposures", focus: "Focus", infrared: "Infrared" };

const sources = new Sources(drawScene, (source) => result?.compareWith(source));
let result = null;
let running = null;

async function start() {
  await openWithToken();
  let about;
  try {
    about = await ask("v1/about");
  } catch (error) {
    if (error.status === 401) return askForToken();
    return showProblem(error, start);
  }
  showProblem(null);
  sources.limits = about.limits;
  $("version").textContent = `defusion ${about.version}`;
  $("keeps").textContent = `Pictures are deleted ${Math.round(about.limits.kept_seconds / 60)} minutes after their last use.`;
  drawExamples(about.examples);
  drawOptions(about.options, about.formats);
  takeDrops();
}

// The link that the service prints ends in #token=... The page exchanges the token for a cookie and removes it from
// the address.
async function openWithToken() {
  const token = new URLSearchParams(location.hash.slice(1)).get("token");
  if (!token) return;
  history.replaceState(null, "", location.pathname);
  await showToken(token).catch(() => {});
}

function showToken(token) {
  return ask("v1/session", { method: "POST", headers: { Authorization: `Bearer ${token}` } });
}

function askForToken() {
  const dialog = $("token");
  dialog.onclose = () => showToken($("token-text").value).then(start, (error) => {
    showProblem(error);
    askForToken();
  });
  dialog.showModal();
}

function drawExamples(names) {
  $("examples").hidden = !names.length;
  const cards = names.map((name) =>
    make(
      "button",
      { onclick: () => takeExample(name) },
      make("img", { src: `page/example-${name}.jpg`, alt: "", width: 144, height: 96 }),
      EXAMPLES[name],
    ),
  );
  $("examples").querySelector(".cards").replaceChildren(...cards);
}

async function takeExample(name) {
  try {
    announce("Making the example");
    const { pictures } = await ask(`v1/examples/${name}`, { method: "POST" });
    sources.have(pictures);
    fuse();
  } catch (error) {
    showProblem(error);
  }
}

function drawOptions(options, formats) {
  const field = (name, label, says, values) =>
    make(
      "label",
      {},
      label,
      make("select", { name }, make("option", { value: "" }, "Automatic"), ...values.map((value) => make("option", { value }, value))),
      make("small", {}, says),
    );
  const shown = options.filter(({ name, values }) => name in LABELS && values.length > 1);
  const fields = shown.map(({ name, values }) => field(name, ...LABELS[name], values.filter((each) => each !== "auto")));
  fields.push(field("format", "File format", "Automatic: the format of the first picture.", formats));
  $("options").replaceChildren(...fields);
}

function chosenOptions() {
  const given = [...new FormData($("options"))].filter(([, value]) => value);
  return Object.fromEntries(given);
}

function drawScene() {
  const some = sources.list.length > 0;
  $("start").hidden = some;
  $("scene").hidden = !some;
  $("anew").hidden = !some;
  const count = sources.ready.length;
  $("fuse").disabled = count < 2 || sources.busy || Boolean(running);
  $("fuse").textContent = count < 2 ? "Fuse" : result ? "Fuse again" : `Fuse ${count} pictures`;
  $("fuse").className = result ? "quiet" : "main";
  if (!some) {
    running?.abort();
    closeResult();
    showProblem(null);
  }
}

async function fuse() {
  closeResult();
  showProblem(null);
  running = new AbortController();
  $("work").hidden = false;
  drawScene();
  tell({ state: "waiting", progress: 0 });
  const options = chosenOptions();
  let job = null;
  try {
    job = await begin("fuse", sources.ids, { ...options, maps: "true" });
    $("stop").onclick = () => {
      running.abort();
      forget(job.links.self);
    };
    const done = await follow(job, tell, running.signal);
    result = new Result(done, sources, options, (error) => showFailure(error));
    result.show();
  } catch (error) {
    if (!running.signal.aborted) showFailure(error);
  } finally {
    running = null;
    $("work").hidden = true;
    drawScene();
  }
}

// Shows the state of a job. null says that the connection is lost.
function tell(news) {
  const bar = $("progress");
  if (!news) {
    $("doing").textContent = "Connection lost, trying again…";
    return;
  }
  const left = news.seconds_left === undefined ? "" : `, ${time(news.seconds_left)} left`;
  $("doing").textContent = news.state === "waiting" ? "Waiting for its turn…" : `Fusing${left}`;
  if (news.progress > 0) bar.value = news.progress;
  else bar.removeAttribute("value");
}

function showFailure(error) {
  if (error.status === 404 && sources.list.some((source) => source.file)) {
    showProblem(new Refusal("The service has deleted these pictures."), sendAgain, "Send them again");
  } else {
    showProblem(error, error.status === 0 || error.status === 429 ? fuse : null);
  }
}

function sendAgain() {
  closeResult();
  showProblem(null);
  sources.again();
}

function showProblem(error, again = null, label = "Try again") {
  const [text, button] = $("problem").children;
  $("problem").hidden = !error;
  text.textContent = error ? error.message : "";
  button.hidden = !again;
  button.textContent = label;
  button.onclick = again;
}

function closeResult() {
  if (!result) return;
  result.close();
  result = null;
  drawScene();
}

function takeFiles(files) {
  if (!files.length) return;
  closeResult();
  showProblem(null);
  sources.take([...files]);
}

function takeDrops() {
  const carries = (event) => event.dataTransfer?.types.includes("Files");
  let inside = 0;
  const veil = (change) => {
    inside = Math.max(0, inside + change);
    $("veil").hidden = inside === 0;
  };
  document.ondragenter = (event) => carries(event) && veil(1);
  document.ondragleave = (event) => carries(event) && veil(-1);
  document.ondragover = (event) => carries(event) && event.preventDefault();
  document.ondrop = (event) => {
    event.preventDefault();
    inside = 0;
    veil(0);
    takeFiles(event.dataTransfer.files);
  };
  document.onpaste = (event) => takeFiles(event.clipboardData.files);
  for (const id of ["choose", "add"]) $(id).onclick = () => $("files").click();
  $("files").onchange = (event) => {
    takeFiles(event.target.files);
    event.target.value = "";
  };
  $("fuse").onclick = fuse;
  $("more").onclick = () => {
    $("options").hidden = !$("options").hidden;
    $("more").setAttribute("aria-expanded", String(!$("options").hidden));
  };
  $("anew").onclick = () => {
    sources.clear();
    $("choose").focus();
  };
}

start();
