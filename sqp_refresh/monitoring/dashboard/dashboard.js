"use strict";

// Times are relative to when the page is read, and a page that was not drawn again says so.
const UNITS = [["days", 86400, 2], ["h", 3600, 2], ["min", 60, 1]];

function span(seconds) {
  for (const [unit, length, least] of UNITS) {
    if (seconds >= least * length) return `${Math.round(seconds / length)} ${unit}`;
  }
  return "less than a minute";
}

function updateTimes() {
  for (const time of document.querySelectorAll("time[data-relative]")) {
    const ahead = (new Date(time.dateTime) - Date.now()) / 1000;
    const distance = span(Math.abs(ahead));
    time.textContent = ahead > 0 ? `in ${distance}` : `${distance} ago`;
  }
  const notice = document.getElementById("stale");
  const age = (Date.now() - new Date(notice.dataset.drawn)) / 1000;
  notice.hidden = age < Number(notice.dataset.after);
  notice.querySelector("span").textContent = span(age);
}

// The tip describes the night or the week that a pointer, or a finger, is on.
const tip = document.getElementById("tip");
let active = null;

function showTip(event) {
  const night = event.target.closest?.("figure path[aria-label], .weeks td[aria-label]") ?? null;
  active?.classList.remove("active");
  active = night;
  tip.hidden = night === null;
  if (night === null) return;
  night.classList.add("active");
  tip.textContent = night.getAttribute("aria-label");
  const { width, height } = tip.getBoundingClientRect();
  const left = Math.min(event.clientX + 14, innerWidth - width - 12);
  const below = event.clientY + 18 + height < innerHeight;
  tip.style.left = `${Math.max(12, left)}px`;
  tip.style.top = `${below ? event.clientY + 18 : event.clientY - height - 14}px`;
}

document.addEventListener("pointermove", showTip);
document.addEventListener("pointerdown", showTip);
document.addEventListener("scroll", () => { tip.hidden = true; }, { passive: true });
updateTimes();
setInterval(updateTimes, 60000);
