// One clock for all pictures of models.html: what has not happened yet at that time is veiled.
(() => {
  "use strict";
  const LEFT = 74 / 480; // where time begins and ends in the pictures, as media/lanes.py draws them
  const RIGHT = 1 - 8 / 480;
  const SECONDS = 9;
  const slider = document.getElementById("clock-time");
  const play = document.getElementById("clock-play");
  const veils = [...document.querySelectorAll(".lanes")].map((figure) => {
    const veil = document.createElement("div");
    veil.className = "veil";
    figure.append(veil);
    return veil;
  });
  let begun = 0; // when the clock would have stood at 0; 0 while it stands still

  function show(part) {
    const from = LEFT + (RIGHT - LEFT) * part;
    for (const veil of veils) {
      veil.hidden = part >= 1;
      veil.style.left = `${from * 100}%`;
    }
    slider.setAttribute("aria-valuetext", part >= 1 ? "the end" : `${Math.round(part * 100)} % of the time`);
  }

  function stop() {
    begun = 0;
    play.textContent = "Play";
  }

  function tick(now) {
    if (!begun) return;
    const part = Math.min(1, (now - begun) / (SECONDS * 1000));
    slider.value = part * 1000;
    show(part);
    if (part < 1) requestAnimationFrame(tick);
    else stop();
  }

  play.addEventListener("click", () => {
    if (begun) {
      stop();
      return;
    }
    const part = slider.value >= 1000 ? 0 : slider.value / 1000;
    begun = performance.now() - part * SECONDS * 1000;
    play.textContent = "Pause";
    requestAnimationFrame(tick);
  });
  slider.addEventListener("input", () => {
    stop();
    show(slider.value / 1000);
  });
  document.getElementById("clock").hidden = false;
  const start = Number(new URLSearchParams(location.search).get("t") ?? 1000);
  slider.value = start;
  show(start / 1000);
})();
