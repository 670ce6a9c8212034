"use strict";

// Times are told from when the page is read, and a page that nobody drew anew says so itself.
const UNITS = [["days", 86400, 2], ["h", 3600, 2], ["min", 60, 1]];

function span(seconds) {
  for (const [unit, length, least] of UNITS) {
    if (seconds >= least * length) return `${Math.round(seconds / length)} ${unit}`;
  }
  return "less than a minute";
}

function tellTimes() {
  for (const time of document.querySelectorAll("time[data-relative]")) {
    const ahead = (new Date(time.dateTime) - Date.now()) / 1000;
    const said = span(Math.abs(ahead));
    time.textContent = ahead > 0 ? `in ${said}` : `${said} ago`;
  }
  const notice = document.getElementById("stale");
  const age = (Date.now() - new Date(notice.dataset.drawn)) / 1000;
  notice.hidden = age < Number(notice.dataset.after);
  notice.querySelector("span").textContent = span(age);
}

// A night is told of where a pointer, or a finger, is on it.
const tip = document.getElementById("tip");
let told = null;

function tell(event) {
  const night = event.target.closest?.("figure path[aria-label]") ?? null;
  told?.classList.remove("told");
  told = night;
  tip.hidden = night === null;
  if (night === null) return;
  night.classList.add("told");
  tip.textContent = night.getAttribute("aria-label");
  const { width, height } = tip.getBoundingClientRect();
  const left = Math.min(event.clientX + 14, innerWidth - width - 12);
  const below = event.clientY + 18 + height < innerHeight;
  tip.style.left = `${Math.max(12, left)}px`;
  tip.style.top = `${below ? event.clientY + 18 : event.clientY - height - 14}px`;
}

document.addEventListener("pointermove", tell);
document.addEventListener("pointerdown", tell);
document.addEventListener("scroll", () => { tip.hidden = true; }, { passive: true });
tellTimes();
setInterval(tellTimes, 60000);
