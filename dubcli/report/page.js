"use strict";
// One video holds both pictures, the dub above the source, so they cannot drift apart. It stays
// unseen; each of its frames is copied once, for a second copy could be of the next one, and both
// halves of that copy are drawn on the canvas, side by side or on either side of a wipe.
// Frame k of the dub is shown from k / rate on, or from edges[k] where the rate varies; seeking
// goes to the middle of a frame.
(() => {
  const $ = (id) => document.getElementById(id);
  const data = JSON.parse($("data").textContent);
  const rate = data.rate[0] / data.rate[1];
  const base = Math.max(1, Math.round(rate));
  const last = data.playable - 1;
  const GAP = 4; // pixels between the pictures
  const video = $("clip");
  const canvas = $("picture");
  const pen = canvas.getContext("2d");
  const sheet = document.createElement("canvas");
  const copier = sheet.getContext("2d");
  const timed = "requestVideoFrameCallback" in HTMLVideoElement.prototype;

  let shown = 0; // the frame on the canvas
  let wanted = null; // the frame that a seek is to end at
  let view = "side";
  let wipe = 0.5; // how much of the width is the source's
  let from = 0; // the frames that the timeline shows: from, from + 1, ... from + span - 1
  let span = data.frames;

  const clamp = (value, low, high) => Math.min(high, Math.max(low, value));
  const two = (value) => String(value).padStart(2, "0");

  // When a frame begins, and which one a time lies in, with the part of it that has passed.
  function timeAt(frame) {
    return data.edges ? data.edges[clamp(Math.round(frame), 0, data.frames)] : frame / rate;
  }
  function placeAt(seconds) {
    if (!data.edges) return seconds * rate;
    let low = 0;
    let high = data.frames;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (data.edges[middle] <= seconds) low = middle;
      else high = middle;
    }
    return low + (seconds - data.edges[low]) / (data.edges[low + 1] - data.edges[low]);
  }
  function timecode(frame) {
    const count = data.edges ? Math.floor(timeAt(frame) * base + 1e-3) : frame;
    const seconds = Math.floor(count / base);
    return [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60, count % base]
      .map(two)
      .join(":");
  }

  function draw(frame) {
    copier.drawImage(video, 0, 0);
    shown = clamp(frame, 0, last);
    paint();
    report();
  }

  function paint() {
    const { width: w, height: h } = data;
    if (view === "side") {
      pen.drawImage(sheet, 0, h, w, h, 0, 0, w, h);
      pen.drawImage(sheet, 0, 0, w, h, w + GAP, 0, w, h);
    } else {
      const x = Math.round(wipe * w);
      if (x > 0) pen.drawImage(sheet, 0, h, x, h, 0, 0, x, h);
      if (x < w) pen.drawImage(sheet, x, 0, w - x, h, x, 0, w - x, h);
    }
  }

  function report() {
    const state = data.state[shown];
    const kind = state === 0 ? "" : data.passed.includes(state) ? "passed" : "doubtful";
    const reason = data.reasons[state];
    const number = (value) => (value === null ? "-" : `${value.toFixed(2)} cm`);
    $("timecode").textContent = timecode(shown);
    $("number").textContent = shown;
    $("state").className = `state ${kind}`;
    $("state").textContent =
      kind === "" ? "Dubbed" : `${kind === "passed" ? "Pass-through" : "Low confidence"}: ${reason}`;
    $("source-frame").textContent = data.source[shown];
    $("effect").textContent = `${data.effect[shown]} %`;
    $("opening").textContent = number(data.opening[shown]);
    $("source-opening").textContent = number(data.sourceOpening[shown]);
    if (shown < from || shown >= from + span) place(shown - 0.1 * span);
    $("playhead").style.left = percent(shown + 0.5);
    $("timeline").setAttribute("aria-valuenow", shown);
    $("timeline").setAttribute("aria-valuetext", `${timecode(shown)}, frame ${shown}`);
  }

  // Seeking. Requests that come while a seek runs are answered by one seek to the last of them.
  function seek(frame) {
    const idle = wanted === null;
    wanted = clamp(frame, 0, last);
    if (idle) go();
  }
  const target = () => (wanted === null ? shown : wanted);
  let going = 0;
  function go() {
    going = wanted;
    video.currentTime = (timeAt(going) + timeAt(going + 1)) / 2;
  }
  video.addEventListener("seeked", () => {
    if (wanted !== null && wanted !== going) {
      go();
      return;
    }
    draw(going);
    wanted = null;
  });

  function frameAt(seconds) {
    return data.edges ? Math.floor(placeAt(seconds + 1e-3)) : Math.round(seconds * rate);
  }
  function onFrame(_now, metadata) {
    if (wanted === null || !video.seeking) draw(frameAt(metadata.mediaTime));
    video.requestVideoFrameCallback(onFrame);
  }
  function onTick() {
    if (!video.paused) draw(Math.floor(placeAt(video.currentTime) + 1e-3));
    requestAnimationFrame(onTick);
  }

  // Playing
  function play() {
    if (target() >= last) seek(0);
    video.play().catch((error) => {
      if (error.name !== "AbortError") complain(error);
    });
  }
  function pause() {
    video.pause();
    seek(shown); // the clock may be ahead of the frame that is seen
  }
  const toggle = () => (video.paused ? play() : pause());
  function step(frames) {
    const from = target();
    video.pause();
    seek(from + frames);
  }
  for (const event of ["play", "pause", "ended"]) {
    video.addEventListener(event, () => {
      const playing = !video.paused && !video.ended;
      document.body.classList.toggle("playing", playing);
      $("play").setAttribute("aria-label", playing ? "Pause" : "Play");
    });
  }
  video.addEventListener("ended", () => seek(last));

  function complain(error) {
    $("trouble").hidden = false;
    $("trouble").textContent =
      `This browser cannot play the video in the page (H.264 in MP4): ${error.message}. ` +
      "Open the page in Chrome, Edge, Firefox or Safari.";
  }
  video.addEventListener("error", () => complain(video.error));

  // Views
  function layOut() {
    const w = view === "side" ? 2 * data.width + GAP : data.width;
    if (canvas.width !== w || canvas.height !== data.height) {
      canvas.width = w;
      canvas.height = data.height;
    }
    const stage = $("stage");
    const most = clamp(0.43 * innerHeight, 200, 640);
    const factor = Math.min(stage.clientWidth / w, most / data.height);
    stage.style.height = `${Math.floor(data.height * factor)}px`;
    canvas.style.width = `${Math.floor(w * factor)}px`;
    canvas.style.height = `${Math.floor(data.height * factor)}px`;
    $("divider").style.left = `${100 * wipe}%`;
    paint();
  }
  function choose(name) {
    view = name;
    document.querySelector(`input[name=view][value=${name}]`).checked = true;
    $("divider").hidden = name !== "wipe";
    $("frame").classList.toggle("wipe", name === "wipe");
    layOut();
  }
  function setWipe(share) {
    wipe = clamp(share, 0, 1);
    $("wipe").value = Math.round(1000 * wipe);
    if (view === "wipe") layOut();
    else choose("wipe");
  }
  for (const input of document.querySelectorAll("input[name=view]")) {
    input.addEventListener("change", () => choose(input.value));
  }
  $("wipe").addEventListener("input", () => setWipe($("wipe").value / 1000));
  $("speed").addEventListener("change", () => {
    video.playbackRate = Number($("speed").value);
  });

  // A press, and what follows while it is held, in shares of an element's width.
  function onDrag(element, act) {
    const at = (event) => {
      const box = element.getBoundingClientRect();
      act(clamp((event.clientX - box.left) / box.width, 0, 1));
    };
    element.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      element.setPointerCapture(event.pointerId);
      at(event);
    });
    element.addEventListener("pointermove", (event) => {
      if (element.hasPointerCapture(event.pointerId)) at(event);
    });
  }
  onDrag($("frame"), (share) => {
    if (view === "wipe") setWipe(share);
  });
  onDrag($("timeline"), (share) => {
    video.pause();
    seek(Math.floor(from + share * span));
  });

  // Passages: where marks begin
  const starts = [...document.querySelectorAll(".mark")]
    .map((mark) => Number(mark.dataset.start))
    .sort((a, b) => a - b);
  function jump(frame) {
    if (frame === undefined) return;
    video.pause();
    seek(frame);
  }
  for (const button of document.querySelectorAll(".jump")) {
    button.addEventListener("click", () => jump(Number(button.dataset.frame)));
  }

  // Keys. A control that has the focus keeps those that it understands itself.
  const KEYS = {
    " ": toggle,
    ArrowLeft: (event) => step(event.shiftKey ? -10 : -1),
    ArrowRight: (event) => step(event.shiftKey ? 10 : 1),
    Home: () => step(-data.frames),
    End: () => step(data.frames),
    "[": () => jump(starts.findLast((start) => start < target())),
    "]": () => jump(starts.find((start) => start > target())),
    "+": () => zoom(2),
    "=": () => zoom(2),
    "-": () => zoom(0.5),
    w: () => choose(view === "wipe" ? "side" : "wipe"),
  };
  document.addEventListener("keydown", (event) => {
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    const focus = event.target;
    if (!(key in KEYS) || event.ctrlKey || event.metaKey || event.altKey) return;
    if (focus.matches("input, select") && (event.key.length > 1 || key === " ")) return;
    if (focus.matches("button, a") && key === " ") return;
    event.preventDefault();
    KEYS[key](event);
  });
  // After the mouse has let go of a control, keys mean the player again.
  for (const control of document.querySelectorAll("input")) {
    control.addEventListener("pointerup", () => setTimeout(() => control.blur()));
  }
  $("speed").addEventListener("change", () => {
    if (!$("speed").matches(":focus-visible")) $("speed").blur();
  });
  $("play").addEventListener("click", toggle);
  $("first").addEventListener("click", () => step(-data.frames));
  $("back").addEventListener("click", () => step(-1));
  $("forward").addEventListener("click", () => step(1));
  $("end").addEventListener("click", () => step(data.frames));

  // The timeline: what it shows, and its axis
  const percent = (frame) => `${(100 * (frame - from)) / span}%`;
  function place(start) {
    from = Math.round(clamp(start, 0, data.frames - span));
    for (const picture of document.querySelectorAll("#timeline svg")) {
      const { x, y, width, height } = picture.viewBox.baseVal;
      const scale = picture.dataset.wide / data.frames;
      if (x !== from * scale || width !== span * scale) {
        picture.setAttribute("viewBox", `${from * scale} ${y} ${span * scale} ${height}`);
      }
    }
    $("playhead").style.left = percent(shown + 0.5);
    $("beyond").hidden = data.playable >= from + span;
    $("beyond").style.left = percent(Math.max(from, data.playable));
    $("zoom").textContent = span === data.frames ? "whole dub" : `${(timeAt(from + span) - timeAt(from)).toFixed(1)} s`;
    ticks();
  }
  function zoom(factor) {
    span = Math.round(clamp(span / factor, Math.min(data.frames, base), data.frames));
    place(shown - span / 2);
  }
  $("closer").addEventListener("click", () => zoom(2));
  $("wider").addEventListener("click", () => zoom(0.5));
  function ticks() {
    const axis = $("axis");
    const start = timeAt(from);
    const seconds = timeAt(from + span) - start;
    const room = Math.max(1, Math.floor(axis.clientWidth / 70));
    const steps = [0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600];
    const every = steps.find((each) => seconds / each <= room) ?? seconds;
    axis.replaceChildren();
    for (let k = Math.ceil(start / every); k * every < start + seconds; k += 1) {
      const label = document.createElement("span");
      const time = k * every;
      const whole = Math.floor(time + 1e-6);
      label.textContent =
        every < 1
          ? `${time.toFixed(1)} s`
          : `${Math.floor(whole / 60)}:${two(whole % 60)}`;
      const share = (placeAt(time) - from) / span;
      if ((1 - share) * axis.clientWidth < 40) label.textContent = "";
      label.style.left = `${100 * share}%`;
      axis.append(label);
    }
  }

  $("last").textContent = data.frames - 1;
  $("timeline").setAttribute("aria-valuemax", data.frames - 1);
  sheet.width = data.width;
  sheet.height = 2 * data.height;
  $("zero").style.top = `${100 * data.zero}%`;
  for (const event of ["resize", "load"]) {
    addEventListener(event, () => {
      layOut();
      ticks();
    });
  }
  layOut();
  place(0);
  report();

  video.addEventListener("loadeddata", () => seek(0), { once: true });
  if (timed) video.requestVideoFrameCallback(onFrame);
  else onTick();
  const parts = [...document.querySelectorAll("script.clip")].map((element) => {
    const text = atob(element.textContent);
    element.remove();
    return Uint8Array.from(text, (letter) => letter.charCodeAt(0));
  });
  video.src = URL.createObjectURL(new Blob(parts, { type: "video/mp4" }));
})();
