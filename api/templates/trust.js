"use strict";
// Speaks after console.js, whose helpers and language it uses.
const TRUST_WORDS = {
  zh: {
    minutes: "{n} 分钟", capacity: "通行能力", inflow: "来车 veh/h（80% 区间）", risk: "拥堵概率", at: "时刻",
    speeds: "各线圈车速 km/h（90% 区间）", made: "依据截至 {at} 的读数", doubted: "不可信",
    estimated: "估计值", allsound: "{n} 个线圈均可信。",
    somebad: "{n} 个线圈中 {bad} 个不可信，按路段列出：", loop: "线圈", link: "路段", place: "位置", why: "原因", since: "起始",
    over: "{last} 止", feedsound: "数据源正常。", lane: "车道", silent: "服务没有回应",
  },
  en: {
    minutes: "{n} min", capacity: "capacity", inflow: "inflow veh/h (80 % interval)", risk: "chance of breakdown", at: "at",
    speeds: "Speed at each loop, km/h (90 % interval)", made: "from readings up to {at}", doubted: "not trusted",
    estimated: "estimated", allsound: "All {n} loops are trusted.",
    somebad: "Of {n} loops {bad} are not trusted, by link:", loop: "loop", link: "link", place: "place", why: "why", since: "since",
    over: "until {last}", feedsound: "The feed is sound.", lane: "lane", silent: "The service does not answer",
  },
};
const SHOWN_S = [300, 900, 1800, 3600];
const say = (key, values = {}) =>
  Object.entries(values).reduce((text, [name, value]) => text.replace(`{${name}}`, value), TRUST_WORDS[language][key] ?? key);
const inside = (text) => text[language] ?? text.en;
const place = (one) => `${one.link} ${whole(one.position_m)} m, ${say("lane")} ${one.lane + 1}`;
const whole = (value) => (value === null ? "–" : value.toFixed(0));

function makeTable(head, rows) {
  const table = make("table");
  const top = make("tr");
  for (const cell of head) top.append(make("th", cell));
  table.append(top);
  for (const cells of rows) {
    const row = make("tr");
    for (const cell of cells) {
      const td = cell instanceof Node ? make("td") : make("td", cell);
      if (cell instanceof Node) td.append(cell);
      row.append(td);
    }
    table.append(row);
  }
  const box = make("div", undefined, "scroll");
  box.append(table);
  return box;
}

function markDoubt(lead, text) {
  const cell = make("span", text, lead.trusted ? "" : "doubted");
  if (!lead.trusted) cell.title = inside(lead.why);
  return cell;
}

function tellReasons(reasons) {
  return make("p", `${say("doubted")}${language === "zh" ? "：" : ": "}${[...reasons].join(language === "zh" ? "；" : "; ")}`, "doubted");
}

function tellBottleneck(one) {
  const box = make("div");
  box.append(make("p", `${one.road || one.id} · ${say("capacity")} ${whole(one.capacity_vph)} veh/h`, "text"));
  const rows = one.leads.map((lead) => [
    clock(lead.at),
    markDoubt(lead, lead.median_vph === null ? "–" : `${whole(lead.median_vph)} (${whole(lead.low_vph)}–${whole(lead.high_vph)})`),
    lead.breakdown_chance === null ? "–" : `${(100 * lead.breakdown_chance).toFixed(0)}%`,
  ]);
  box.append(makeTable([say("at"), say("inflow"), say("risk")], rows));
  const reasons = new Set(one.leads.filter((lead) => !lead.trusted).map((lead) => inside(lead.why)));
  if (reasons.size) box.append(tellReasons(reasons));
  return box;
}

function tellCell(lead) {
  const kmh = (value) => whole(value === null ? null : 3.6 * value);
  const range = lead.low === null ? "" : ` (${kmh(lead.low)}–${kmh(lead.high)})`;
  return markDoubt(lead, lead.expected === null ? "–" : kmh(lead.expected) + range);
}

function tellForecast(told) {
  const parts = [make("p", inside(told.standing), told.trusted_share > 0 ? "faint" : "doubted")];
  parts.push(...told.bottlenecks.map(tellBottleneck));
  const speeds = told.loops.filter((one) => one.quantity === "speed_mps");
  if (!speeds.length) return parts;
  parts.push(make("p", `${say("speeds")} · ${say("made", { at: clock(told.made) })}`));
  const reasons = new Set();
  const rows = speeds.map((one) => {
    const name = make("span", `${place(one)} `);
    name.title = one.loop;
    if (one.estimated) name.append(make("span", say("estimated"), "mark"), " ");
    const shown = one.leads.filter((lead) => SHOWN_S.includes(lead.lead_s));
    const doubted = shown.filter((lead) => !lead.trusted);
    for (const lead of doubted) reasons.add(inside(lead.why));
    if (doubted.length === shown.length) name.append(make("span", say("doubted"), "mark"));
    return [name, ...shown.map(tellCell)];
  });
  const head = [say("loop"), ...SHOWN_S.map((seconds) => say("minutes", { n: seconds / 60 }))];
  parts.push(makeTable(head, rows));
  if (reasons.size) parts.push(tellReasons(reasons));
  return parts;
}

function tellDetectors(told) {
  const parts = told.feed.map((one) =>
    make("p", `${inside(one.text)} · ${say("since")} ${clock(one.since)}` +
      (one.now ? "" : ` · ${say("over", { last: clock(one.last) })}`), one.now ? "bad" : "over"));
  if (!parts.length) parts.push(make("p", say("feedsound"), "faint"));
  if (!told.loops.length) return [...parts, make("p", say("allsound", { n: told.watched }), "faint")];
  parts.push(make("p", say("somebad", { n: told.watched, bad: told.loops.length })));
  const loops = [...told.loops].sort((a, b) => a.link.localeCompare(b.link));
  const rows = loops.map((one, i) => [
    i && loops[i - 1].link === one.link ? "" : one.road ? `${one.road} (${one.link})` : one.link,
    `${whole(one.position_m)} m, ${say("lane")} ${one.lane + 1}`,
    inside(one.text),
    clock(one.since),
    make("code", one.loop),
  ]);
  parts.push(makeTable([say("link"), say("place"), say("why"), say("since"), say("loop")], rows));
  return parts;
}

async function fill(id, path, tell) {
  const answer = await fetch(path).catch(() => null);
  find(id).replaceChildren(...(answer?.ok ? tell(await answer.json()) : [make("p", say("silent"), "faint")]));
}

function showTrust() {
  fill("forecast", "/v1/forecasts", tellForecast);
  fill("detectors", "/v1/detectors", tellDetectors);
}

find("language").addEventListener("click", showTrust);
showTrust();
setInterval(showTrust, 5000);
