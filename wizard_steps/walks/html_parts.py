"""Style and script of the exported page. Inline: the page must work from a disk, offline, with no server."""

CSS = """
:root{color-scheme:light dark;--fg:#1c2024;--bg:#fcfcfd;--soft:#f0f1f4;--line:#d5d8de;--good:#146c2e;
--bad:#b3261e;--warn:#7a4d00;--accent:#1a56b0;--mark:#ffe08a}
@media(prefers-color-scheme:dark){:root{--fg:#e4e7eb;--bg:#14171a;--soft:#1e2328;--line:#3a4048;--good:#6fcf83;
--bad:#ff8a80;--warn:#f0c060;--accent:#8ab8ff;--mark:#7a5c00}}
*{box-sizing:border-box}
body{margin:0;font:16px/1.5 system-ui,sans-serif;color:var(--fg);background:var(--bg);display:grid;
grid-template-columns:minmax(13rem,18rem) 1fr;grid-template-areas:"head head" "nav bar" "nav main"}
header{grid-area:head;padding:1rem 1.5rem;border-bottom:1px solid var(--line)}
h1{font-size:1.4rem;margin:0 0 .5rem}h2{font-size:1.2rem;margin:0}h3{font-size:1rem;margin:.6rem 0 .2rem}
header dl{display:flex;flex-wrap:wrap;gap:.2rem 1.5rem;margin:0}header dl div{display:flex;gap:.4rem}
dt{font-weight:600}dd{margin:0}
nav{grid-area:nav;padding:1rem;position:sticky;top:0;align-self:start;max-height:100vh;overflow:auto}
nav ol{padding-left:2rem;margin:0}nav small{display:block}a{color:var(--accent)}
#bar{grid-area:bar;position:sticky;top:0;background:var(--bg);padding:.6rem 1rem;
border-bottom:1px solid var(--line);display:flex;gap:.6rem;align-items:center;z-index:1}
input,button{font:inherit;padding:.15rem .5rem}
main{grid-area:main;padding:0 1rem 4rem;min-width:0}
section{padding:1rem 0 1.4rem;border-bottom:1px solid var(--line);scroll-margin-top:3.5rem}
.passed small,.passed .verdict b,.ok td:first-child,.matched td:first-child{color:var(--good)}
.failed small,.failed .verdict b,.bad td:first-child,.missing td{color:var(--bad)}
.warning small,.warning .verdict b,.warn td:first-child,.unexpected td:first-child{color:var(--warn)}
.between,.optional{opacity:.75}
.note{border-left:4px solid var(--accent);background:var(--soft);padding:.4rem .8rem;white-space:pre-wrap}
.ask{border-left:4px solid var(--warn);padding:.2rem .8rem}
.why p{white-space:pre-wrap}
pre,code{font:13px/1.45 ui-monospace,Menlo,Consolas,monospace}
pre{background:var(--soft);padding:.6rem;overflow:auto;max-height:32rem;margin:.4rem 0}
.cmd{border-left:4px solid var(--line);white-space:pre-wrap}
details{margin:.4rem 0}summary{cursor:pointer}
table{border-collapse:collapse;width:100%;margin:.5rem 0}
td,th{text-align:left;vertical-align:top;padding:.1rem .5rem;border-bottom:1px solid var(--line)}
.sides{table-layout:fixed}.sides td:first-child,.sides th:first-child{width:2rem}
.sides code{white-space:pre-wrap;overflow-wrap:anywhere}
mark{background:var(--mark);color:inherit}mark.here{outline:2px solid var(--accent)}
@media(max-width:50rem){body{display:block}nav{position:static;max-height:none}}
@media print{#bar{display:none}nav{position:static}}
"""

JS = """
(function () {
  'use strict';
  var main = document.querySelector('main'), box = document.getElementById('q');
  var said = document.getElementById('hits'), marks = [], at = -1, timer = 0;
  function clear() {
    marks.forEach(function (mark) {
      var parent = mark.parentNode;
      parent.replaceChild(document.createTextNode(mark.textContent), mark);
      parent.normalize();
    });
    marks = []; at = -1;
  }
  function search() {
    clear();
    var words = box.value.toLowerCase();
    if (words.length < 2) { said.textContent = ''; return; }
    var walker = document.createTreeWalker(main, NodeFilter.SHOW_TEXT), nodes = [], node;
    while ((node = walker.nextNode())) { nodes.push(node); }
    nodes.forEach(function (text) {
      var place;
      while (marks.length < 2000 && (place = text.data.toLowerCase().indexOf(words)) >= 0) {
        var hit = text.splitText(place), rest = hit.splitText(words.length);
        var mark = document.createElement('mark');
        hit.parentNode.replaceChild(mark, hit);
        mark.appendChild(hit);
        marks.push(mark);
        text = rest;
      }
    });
    go(1);
  }
  function go(by) {
    if (!marks.length) { said.textContent = 'nothing found'; return; }
    if (at >= 0) { marks[at].classList.remove('here'); }
    at = (at + by + marks.length) % marks.length;
    for (var up = marks[at]; up; up = up.parentElement) { if (up.tagName === 'DETAILS') { up.open = true; } }
    marks[at].classList.add('here');
    marks[at].scrollIntoView({ block: 'center' });
    said.textContent = (at + 1) + ' of ' + marks.length + (marks.length === 2000 ? ' or more' : '');
  }
  box.addEventListener('input', function () { clearTimeout(timer); timer = setTimeout(search, 150); });
  box.addEventListener('keydown', function (e) { if (e.key === 'Enter') { go(e.shiftKey ? -1 : 1); } });
  document.getElementById('next').addEventListener('click', function () { go(1); });
  document.getElementById('prev').addEventListener('click', function () { go(-1); });
  document.addEventListener('keydown', function (e) {
    if (e.key === '/' && document.activeElement !== box) { e.preventDefault(); box.focus(); }
  });
})();
"""
