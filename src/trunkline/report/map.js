(() => {
  const map = document.querySelector(".map"), svg = map.querySelector(".cloud"), ring = svg.querySelector(".ring");
  const peek = map.querySelector(".peek"), picture = peek.querySelector("img"), words = peek.querySelector("figcaption");
  const { width, height } = svg.viewBox.baseVal;
  const hits = [...svg.querySelectorAll(".hit")].map((hit) => {
    const title = hit.querySelector("title"), text = title.textContent;
    title.remove();
    return { x: +hit.getAttribute("cx"), y: +hit.getAttribute("cy"), jpeg: hit.dataset.jpeg, text };
  });
  let shown = -1;
  const hide = () => { shown = -1; peek.hidden = true; ring.setAttribute("visibility", "hidden"); };
  const show = (number) => {
    if (number === shown) return;
    const hit = hits[shown = number];
    picture.src = "data:image/jpeg;base64," + hit.jpeg;
    words.textContent = hit.text;
    ring.setAttribute("cx", hit.x);
    ring.setAttribute("cy", hit.y);
    ring.setAttribute("visibility", "visible");
    peek.style.left = `${(100 * hit.x) / width}%`;
    peek.style.top = `${(100 * hit.y) / height}%`;
    peek.classList.toggle("leftwards", hit.x > width / 2);
    peek.classList.toggle("upwards", hit.y > height / 2);
    peek.hidden = false;
  };
  const near = (event) => {
    const box = svg.getBoundingClientRect(), scale = width / box.width;
    const x = (event.clientX - box.left) * scale, y = (event.clientY - box.top) * scale;
    let best = -1, least = (event.pointerType === "touch" ? 28 : 14) ** 2;
    hits.forEach((hit, number) => {
      const distance = (hit.x - x) ** 2 + (hit.y - y) ** 2;
      if (distance < least) { best = number; least = distance; }
    });
    if (best < 0) hide(); else show(best);
  };
  svg.addEventListener("pointermove", near);
  svg.addEventListener("pointerdown", near);
  svg.addEventListener("pointerleave", (event) => { if (event.pointerType !== "touch") hide(); });
  svg.addEventListener("blur", hide);
  svg.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (step) { event.preventDefault(); show((Math.max(shown, step < 0 ? 0 : -1) + step + hits.length) % hits.length); }
    if (event.key === "Escape") hide();
  });
  svg.tabIndex = 0;
  for (const hint of map.closest("section").querySelectorAll(".hint")) hint.hidden = false;
})();
