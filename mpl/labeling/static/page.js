'use strict';

// One batch of questions is on the page at a time, never all. An answer counts when the server has
// confirmed it; until then further keys are ignored, so that none goes to a picture not yet seen.

const one = (id) => document.getElementById(id);
const { skip, study } = document.body.dataset;
const buttons = [...document.querySelectorAll('.class')];
const byKey = new Map(buttons.filter((b) => b.dataset.key).map((b) => [b.dataset.key, b.dataset.label]));

const state = {
  person: new URLSearchParams(location.search).get('annotator') || localStorage.getItem('annotator') || '',
  grid: localStorage.getItem('grid') === 'true',
  hint: localStorage.getItem('hint') === 'true',
  items: [], // questions of the batch, each with .answer once it has one
  at: 0, // the current one
  selected: new Set(), // places in the batch
  history: [], // [[question, answer before], ...] for each key, oldest first
  busy: false,
  progress: null,
};

async function request(path, body) {
  const options = body && {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify(body),
  };
  const response = await fetch(path, options).catch(() => {
    throw new Error('The labeling page is not running any more; start it again. Answers are kept.');
  });
  const given = await response.json().catch(() => ({}));
  if (!response.ok) throw new Error(given.error || `The request failed (${response.status}).`);
  return given;
}

// Runs a task that talks to the server; shows its error, and ignores keys meanwhile.
async function run(task) {
  if (state.busy) return;
  state.busy = true;
  try {
    await task();
    one('error').hidden = true;
  } catch (error) {
    one('error').textContent = error.message;
    one('error').hidden = false;
  } finally {
    state.busy = false;
    draw();
  }
}

const image = (question, side) => `image/${question.number}/${side}?study=${study}`;

function batchSize() {
  if (!state.grid) return 8;
  return window.innerWidth < 760 ? 12 : 24;
}

async function load() {
  const query = new URLSearchParams({ study, annotator: state.person, count: batchSize() });
  const given = await request(`questions?${query}`);
  state.progress = given;
  state.items = given.questions;
  state.at = 0;
  state.selected.clear();
}

async function refreshProgress() {
  const query = new URLSearchParams({ study, annotator: state.person, count: 0 });
  state.progress = await request(`questions?${query}`);
}

// The places that a key answers: the selected ones in the grid, else the current one.
function targets() {
  if (state.grid && state.selected.size) return [...state.selected].sort((a, b) => a - b);
  return state.items[state.at] ? [state.at] : [];
}

async function send(pairs) {
  const answers = pairs.map(([question, label]) => ({ number: question.number, label }));
  return request(`answers?study=${study}`, { annotator: state.person, answers });
}

function answer(label) {
  const places = targets();
  if (!places.length) return;
  run(async () => {
    const questions = places.map((place) => state.items[place]);
    const given = await send(questions.map((question) => [question, label]));
    state.history.push(questions.map((question, n) => [{ ...question, answer: undefined }, given.before[n]]));
    remember();
    questions.forEach((question) => { question.answer = label; });
    state.selected.clear();
    const next = nextOpen(places[places.length - 1]);
    if (next === null) await load();
    else {
      state.at = next;
      await refreshProgress();
    }
  });
}

function undo() {
  const last = state.history[state.history.length - 1];
  if (!last) return;
  run(async () => {
    await send(last);
    state.history.pop();
    remember();
    for (const [question, before] of [...last].reverse()) {
      let place = state.items.findIndex((item) => item.number === question.number);
      if (place < 0) {
        state.items.unshift(question);
        place = 0;
      }
      state.items[place].answer = before || undefined;
      state.at = place;
    }
    state.selected.clear();
    await refreshProgress();
  });
}

// Kept for a reload of the page, for each person.
function remember() {
  state.history = state.history.slice(-200);
  sessionStorage.setItem(`history of ${state.person} in ${study}`, JSON.stringify(state.history));
}

function recall() {
  state.history = JSON.parse(sessionStorage.getItem(`history of ${state.person} in ${study}`) || '[]');
}

// The next place without an answer, after `place` and then from the start; null if there is none.
function nextOpen(place) {
  const order = [...state.items.keys()];
  const found = [...order.slice(place + 1), ...order.slice(0, place + 1)].find((n) => !state.items[n].answer);
  return found === undefined ? null : found;
}

function move(step) {
  const place = state.at + step;
  if (place >= 0 && place < state.items.length) state.at = place;
  draw();
}

function columns() {
  return getComputedStyle(one('cells')).gridTemplateColumns.split(' ').length;
}

function toggle(name) {
  state[name] = !state[name];
  localStorage.setItem(name, state[name]);
  if (name === 'grid') run(load);
  else draw();
}

function select(place, extend) {
  if (extend) {
    const [low, high] = [Math.min(place, state.at), Math.max(place, state.at)];
    for (let n = low; n <= high; n += 1) state.selected.add(n);
  } else if (!state.selected.delete(place)) state.selected.add(place);
  state.at = place;
  draw();
}

function badge(kind, text) {
  const found = document.createElement('span');
  found.className = `badge ${kind}`;
  found.textContent = text;
  return found;
}

function badges(question) {
  const found = [];
  if (question.answer) found.push(badge('said', question.answer));
  else if (state.hint && question.suggestion) {
    found.push(badge('', `${question.suggestion} ${Math.round(100 * question.confidence)} %`));
  }
  const said = Object.entries(question.said || {});
  if (said.length && !state.grid) {
    found.push(badge('tie', `answers differ: ${said.map(([who, what]) => `${what} (${who})`).join(', ')}`));
  }
  return found;
}

function drawLarge(question) {
  const picture = one('image');
  const address = image(question, 1600);
  if (picture.getAttribute('src') !== address) {
    picture.classList.remove('small');
    picture.src = address;
  }
  picture.alt = `Picture ${question.rank}`;
  one('caption').replaceChildren(`Picture ${question.rank}`, ...badges(question));
  const next = state.items[state.at + 1];
  if (next) new Image().src = image(next, 1600);
}

function makeCell(question, place) {
  const cell = document.createElement('button');
  const picture = document.createElement('img');
  picture.src = image(question, 320);
  picture.alt = `Picture ${question.rank}`;
  cell.append(picture);
  cell.dataset.number = question.number;
  cell.addEventListener('click', (event) => {
    cell.blur();
    select(place, event.shiftKey);
  });
  return cell;
}

function drawCells() {
  const shown = [...one('cells').children];
  const same = shown.map((cell) => cell.dataset.number).join() === state.items.map((item) => item.number).join();
  const cells = same ? shown : state.items.map(makeCell);
  if (!same) one('cells').replaceChildren(...cells);
  cells.forEach((cell, place) => {
    const question = state.items[place];
    cell.replaceChildren(cell.firstChild, ...badges(question));
    cell.className = 'cell';
    cell.classList.toggle('current', place === state.at);
    cell.classList.toggle('selected', state.selected.has(place));
    cell.classList.toggle('answered', Boolean(question.answer));
  });
}

function drawMessage() {
  const { training, asked, done } = state.progress;
  const title = document.createElement('h2');
  let text = 'Run the command of mpl.active again: it goes on with these answers.';
  title.textContent = 'Nothing left to label';
  if (training) {
    title.textContent = 'Training is running';
    text = 'New questions appear here when it ends. All answers are kept.';
  } else if (done < asked) text = 'The pictures that are left are open for other people.';
  one('message').replaceChildren(title, text);
}

function draw() {
  document.body.classList.toggle('grid', state.grid && state.items.length > 0);
  one('grid').setAttribute('aria-pressed', state.grid);
  one('hint').setAttribute('aria-pressed', state.hint);
  one('person').textContent = state.person;
  one('undo').disabled = !state.history.length;
  if (!state.progress) return;
  const { done, asked, ties, yours, cycle } = state.progress;
  one('bar').style.width = `${(100 * done) / asked}%`;
  const extra = ties ? `, ${ties} ${ties === 1 ? 'tie' : 'ties'}` : '';
  one('progress').textContent = `${done.toLocaleString('en')} of ${asked.toLocaleString('en')}${extra}`;
  one('progress').title = `Cycle ${cycle}; ${yours} by you`;
  const question = state.items[state.at];
  one('large').hidden = !question;
  one('cells').hidden = !question;
  one('message').hidden = Boolean(question);
  document.querySelector('aside').hidden = !question && !state.history.length;
  one('hint').hidden = !state.items.some((item) => item.suggestion);
  if (!question) drawMessage();
  else if (state.grid) drawCells();
  else drawLarge(question);
  for (const button of buttons) {
    const label = button.dataset.label;
    const suggests = question && state.hint && !question.answer && !state.grid;
    button.classList.toggle('suggested', Boolean(suggests && question.suggestion === label));
    button.classList.toggle('said', Boolean(question && question.answer === label && !state.grid));
  }
}

function filter() {
  const text = one('filter').value.trim().toLowerCase();
  for (const button of buttons) button.hidden = !button.dataset.label.toLowerCase().includes(text);
}

function onFilterKey(event) {
  if (event.key === 'Enter') {
    const first = buttons.find((button) => !button.hidden);
    if (first) answer(first.dataset.label);
  }
  if (event.key === 'Enter' || event.key === 'Escape') {
    one('filter').value = '';
    filter();
    one('filter').blur();
  }
}

const COMMANDS = {
  ' ': () => answer(skip),
  Backspace: undo,
  '.': () => !one('hint').hidden && toggle('hint'),
  '-': () => toggle('grid'),
  '/': () => one('filter').focus(),
  ArrowLeft: () => move(-1),
  ArrowRight: () => move(1),
  ArrowUp: () => state.grid && move(-columns()),
  ArrowDown: () => state.grid && move(columns()),
  Enter: () => state.grid && state.items.length && select(state.at, false),
};

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
  if (one('who').open || event.target.tagName === 'INPUT') return;
  const label = byKey.get(event.key.toLowerCase());
  if (label !== undefined && !event.repeat) answer(label);
  else if (event.key in COMMANDS && !(event.repeat && !event.key.startsWith('Arrow'))) COMMANDS[event.key]();
  else return;
  event.preventDefault();
}

function ask() {
  one('name').value = state.person;
  one('who').showModal();
}

function start() {
  state.person = one('name').value.trim() || state.person;
  localStorage.setItem('annotator', state.person);
  recall();
  run(load);
}

document.addEventListener('keydown', onKey);
one('filter').addEventListener('input', filter);
one('filter').addEventListener('keydown', onFilterKey);
one('who').addEventListener('cancel', (event) => state.person || event.preventDefault());
one('who').querySelector('form').addEventListener('submit', start);
one('image').addEventListener('load', () => {
  one('image').classList.toggle('small', one('image').naturalWidth <= 128);
});
one('image').addEventListener('error', () => {
  one('image').alt = 'This picture cannot be shown. Skip it.';
});
const CLICKS = { grid: () => toggle('grid'), hint: () => toggle('hint'), person: ask, skip: () => answer(skip), undo };
for (const [id, action] of Object.entries(CLICKS)) {
  one(id).addEventListener('click', () => {
    one(id).blur(); // Else Space would click it again.
    action();
  });
}
for (const button of buttons) {
  button.addEventListener('click', () => {
    button.blur();
    answer(button.dataset.label);
  });
}
if (buttons.length <= 9) one('filter').hidden = true;
setInterval(() => {
  if (state.person && !state.busy && !state.items.length && !one('who').open) run(load);
}, 3000);
recall();
if (state.person) run(load);
else ask();
