// Search in the page; without it the page can be read all the same.
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
