"use strict";
const WORDS = {
  zh: {
    minor: "一般", major: "较重", critical: "严重", suspected: "疑似", warning: "预警",
    confirmed: "已确认",
    recurrent: "常发", "demand surge": "流量突增", incident: "疑似事件", "detector fault": "检测器存疑",
    acknowledge: "确认", snooze: "暂缓 15 分钟", escalate: "升级", clear: "解除",
    none: "目前没有预警", since: "起始", chance: "概率", confidence: "置信度", seen: "已由 {who} 确认", asleep: "暂缓至",
    pending: "待执行", readings: "线圈读数", loop: "线圈", count: "车数", occupancy: "占有率",
    speed: "速度 km/h", quality: "质量", settings: "阈值版本", silent: "服务没有回应", other: "English",
  },
  en: {
    minor: "minor", major: "major", critical: "critical", suspected: "suspected",
    warning: "warning", confirmed: "confirmed",
    recurrent: "recurrent", "demand surge": "demand surge", incident: "incident",
    "detector fault": "detectors in doubt", acknowledge: "Acknowledge", snooze: "Snooze 15 min",
    escalate: "Escalate", clear: "Clear", none: "No alert is open", since: "since", chance: "chance", confidence: "confidence",
    seen: "acknowledged by {who}", asleep: "snoozed until", pending: "pending",
    readings: "Loop readings", loop: "loop", count: "vehicles", occupancy: "occupancy",
    speed: "speed km/h", quality: "quality", settings: "thresholds", silent: "The service does not answer",
    other: "中文",
  },
};
let language = "zh";
const opened = new Set();
const word = (key) => WORDS[language][key] ?? key;
const find = (id) => document.getElementById(id);
const clock = (text) => new Date(text).toLocaleTimeString(language, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });

function make(tag, text, kind) {
  const element = document.createElement(tag);
  if (text !== undefined) element.textContent = text;
  if (kind) element.className = kind;
  return element;
}

function tellReadings(alert) {
  const details = make("details");
  details.open = opened.has(alert.id);
  details.addEventListener("toggle", () => opened[details.open ? "add" : "delete"](alert.id));
  details.append(make("summary", word("readings")));
  const table = make("table");
  const head = make("tr");
  for (const key of ["loop", "count", "occupancy", "speed", "quality"]) head.append(make("th", word(key)));
  table.append(head);
  for (const one of alert.readings) {
    const row = make("tr");
    const occupancy = one.occupancy === null ? "–" : (100 * one.occupancy).toFixed(0) + "%";
    const speed = one.speed_mps === null ? "–" : (3.6 * one.speed_mps).toFixed(0);
    for (const cell of [one.loop, one.count_veh ?? "–", occupancy, speed, one.quality]) row.append(make("td", cell));
    table.append(row);
  }
  details.append(table);
  return details;
}

function tellAlert(alert) {
  const card = make("article", undefined, alert.severity + (alert.snoozed_until ? " snoozed" : ""));
  card.append(make("p", alert.text[language] ?? alert.text.en, "text"));
  if (alert.advice[language]) card.append(make("p", alert.advice[language]));
  const facts = [word(alert.severity), word(alert.level), word(alert.cause), `${word("since")} ${clock(alert.raised)}`];
  if (alert.breakdown_chance !== null) facts.push(`${word("chance")} ${(100 * alert.breakdown_chance).toFixed(0)}%`);
  if (alert.confidence < 1) facts.push(`${word("confidence")} ${(100 * alert.confidence).toFixed(0)}%`);
  if (alert.acknowledged_by) facts.push(word("seen").replace("{who}", alert.acknowledged_by));
  if (alert.snoozed_until) facts.push(`${word("asleep")} ${clock(alert.snoozed_until)}`);
  facts.push(`${word("settings")} ${alert.settings}`);
  card.append(make("p", facts.join(" · "), "faint"));
  for (const line of alert.evidence) card.append(make("p", line[language] ?? line.en, "faint"));
  for (const kind of ["acknowledge", "snooze", "escalate", "clear"]) {
    const button = make("button", word(kind));
    button.disabled = alert.pending.some((one) => one.kind === kind);
    button.addEventListener("click", () => order(alert.id, kind));
    card.append(button);
  }
  for (const one of alert.pending) card.append(make("span", `${word("pending")}: ${word(one.kind)} `, "faint"));
  card.append(tellReadings(alert));
  return card;
}

async function order(id, kind) {
  const who = find("who").value.trim();
  const answer = await fetch(`/v1/alerts/${encodeURIComponent(id)}/${kind}`, {
    method: "POST",
    headers: { Authorization: `Bearer ${find("token").value}`, "Content-Type": "application/json" },
    body: JSON.stringify(who ? { who } : {}),
  }).catch(() => null);
  const problem = answer === null ? { detail: word("silent") } : answer.ok ? {} : await answer.json();
  find("said").textContent = problem.detail ?? problem.title ?? "";
  await show();
}

async function show() {
  const answer = await fetch("/v1/alerts").catch(() => null);
  const main = find("alerts");
  if (answer === null || !answer.ok) {
    main.replaceChildren(make("p", word("silent")));
    return;
  }
  const { alerts, refused } = await answer.json();
  main.replaceChildren(...(alerts.length ? alerts.map(tellAlert) : [make("p", word("none"))]));
  if (refused.length) find("said").textContent = refused.map((one) => one.reason).join("; ");
}

function speak(chosen) {
  language = chosen;
  document.documentElement.lang = chosen;
  for (const element of document.querySelectorAll("[data-zh]")) element.textContent = element.dataset[chosen];
  find("language").textContent = word("other");
  show();
}

find("language").addEventListener("click", () => {
  speak(language === "zh" ? "en" : "zh");
  history.replaceState(null, "", `#${language}`);
});
speak(location.hash === "#en" ? "en" : "zh");
setInterval(show, 5000);
