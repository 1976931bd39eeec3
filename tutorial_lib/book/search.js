// Finds sections that contain all typed words, also within words: Chinese has no spaces.
const input = document.getElementById("search");
const found = document.getElementById("found");

function snippet(text, word) {
  const position = Math.max(0, text.toLowerCase().indexOf(word) - 30);
  return (position ? "…" : "") + text.slice(position, position + 90) + "…";
}

input.addEventListener("input", () => {
  const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
  const hits = words.length
    ? SECTIONS.filter((section) => {
        const all = `${section.title} ${section.text}`.toLowerCase();
        return words.every((word) => all.includes(word));
      })
    : [];
  found.replaceChildren(
    ...hits.slice(0, 20).map((section) => {
      const link = document.createElement("a");
      link.href = section.url;
      link.textContent = section.title === section.page ? section.page : `${section.page}: ${section.title}`;
      const line = document.createElement("small");
      line.textContent = snippet(section.text, words[0]);
      const item = document.createElement("li");
      item.append(link, line);
      return item;
    }),
  );
  if (words.length && !hits.length) found.textContent = "Nothing found.";
});
