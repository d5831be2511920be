// A live leaderboard in the terminal: shows a view of a board, reconnects, and resumes the view.
//
//   API_URL=http://127.0.0.1:8080 TOKEN=… node live-board.mjs BOARD [--top 10 | --around USER]
//
// TOKEN is a gamer token, or on a server an API key of role `read`. Node 22 or later needs no packages. Older versions have no built-in
// WebSocket client: run `npm ci` first, which installs `ws`.

const { API_URL, TOKEN } = process.env;
const [board, option, value] = process.argv.slice(2);
if (!API_URL || !TOKEN || !board) throw new Error("usage: API_URL=… TOKEN=… node live-board.mjs BOARD [--top 10 | --around USER]");
const Socket = globalThis.WebSocket ?? (await import("ws")).WebSocket;

const SILENCE_MS = 75_000; // the server sends a heartbeat after 30 s: more than twice that means the connection is dead
const LONGEST_WAIT_MS = 30_000;
const FINAL = { 4401: "the token has expired", 4403: "access was withdrawn", 4404: "the leaderboard was archived" };

const api = API_URL.replace(/\/+$/, "");
const address = `${api.replace(/^http/, "ws")}/v1/leaderboards/${encodeURIComponent(board)}/ws`;
const views = {
  "--top": { type: "top_n", n: Number(value) },
  "--around": { type: "around_user", user_id: value, range: 5 },
};
const view = { type: "configure", filter: views[option] ?? { type: "all" } };

const entries = new Map();
let attempt = 0;

// Applies a message to `entries`; returns whether the board changed. A snapshot is the full state, so nothing has to be replayed after a
// reconnect. An update holds only the differences.
function apply(message) {
  if (message.type === "snapshot") entries.clear();
  else if (message.type !== "update") return false;
  for (const user of message.removed ?? []) entries.delete(user);
  for (const entry of message.entries) entries.set(entry.user_id, entry);
  return true;
}

function show({ window_key, status, total }) {
  const rows = [...entries.values()].sort((a, b) => a.rank - b.rank);
  const lines = rows.map(({ rank, user_id, display_name, score }) => `${rank}. ${display_name ?? user_id} ${score}`);
  if (process.stdout.isTTY) console.clear();
  console.log([`${window_key}: ${total} ranked, ${status}`, ...lines].join(process.stdout.isTTY ? "\n" : " | "));
}

// A WebSocket client does not see the status of a refused upgrade, so ask over REST whether a retry can help.
async function refusal() {
  const path = `${api}/v1/leaderboards/${encodeURIComponent(board)}?limit=1`;
  const answer = await fetch(path, { headers: { Authorization: `Bearer ${TOKEN}` } }).catch(() => null);
  return answer && [401, 403, 404].includes(answer.status) ? (await answer.json()).error.message : null;
}

function connect() {
  const socket = new Socket(address, ["bearer", TOKEN]); // as a browser would: the token goes with the subprotocol
  let sequence = 0;
  let silence;

  // A dead connection may never report that it closed, so the retry does not wait for the close handshake.
  const drop = () => {
    retry({ code: 1006 });
    socket.close();
  };
  const listen = () => {
    clearTimeout(silence);
    silence = setTimeout(drop, SILENCE_MS);
  };

  socket.onopen = () => {
    listen();
    socket.send(JSON.stringify(view)); // resumes the view; the answer is a snapshot of it
  };
  socket.onmessage = ({ data }) => {
    listen();
    const message = JSON.parse(data);
    if (message.sequence !== (sequence += 1)) return drop(); // the numbers have no gaps: a client that sees one starts afresh
    if (message.type === "error") console.error(message.message);
    attempt = 0;
    if (apply(message)) show(message);
  };
  socket.onerror = drop; // not every client reports `close` after a refused upgrade
  socket.onclose = (closed) => retry(closed);

  async function retry({ code }) {
    clearTimeout(silence);
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.onerror = () => {};
    const reason = FINAL[code] ?? (sequence === 0 ? await refusal() : null);
    if (reason) return stop(reason);
    const wait = Math.min(LONGEST_WAIT_MS, 500 * 2 ** attempt++) * (0.5 + Math.random() / 2); // spread, so that clients do not all return at once
    console.error(`disconnected (${code}), reconnecting in ${Math.ceil(wait)} ms`);
    setTimeout(connect, wait);
  }
}

function stop(reason) {
  console.error(`stopped: ${reason}`);
  process.exitCode = 1; // nothing is left to run, so the process ends
}

connect();
