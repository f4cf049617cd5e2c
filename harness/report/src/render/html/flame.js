// Flame graphs that are worked with: search, zoom, a table of functions with their callers and callees, on-CPU, off-CPU
// and what changed between variants in one place; all of it by keyboard too. Reads the stacks that stand in the page.
'use strict';
(() => {
  const ROW = 18, SHOWN = 60;
  const el = (name, attributes = {}, ...inside) => {
    const one = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) {
      if (key in one && key !== 'list') one[key] = value; else one.setAttribute(key, value);
    }
    one.append(...inside);
    return one;
  };
  const time = (ns) => {
    const size = Math.abs(ns);
    const [divisor, unit] = size < 1e3 ? [1, 'ns'] : size < 1e6 ? [1e3, 'µs'] : size < 1e9 ? [1e6, 'ms'] : [1e9, 's'];
    return Number((ns / divisor).toPrecision(3)) + ' ' + unit;
  };
  const signed = (ns) => (ns < 0 ? '−' : '+') + time(Math.abs(ns));
  const percent = (share) => (share * 100).toFixed(share < 0.1 ? 2 : 1) + ' %';
  const plain = (name) => name.replace(/_\[[ki]\]$/, '');
  const hue = (name) => {
    let hash = 0;
    for (const character of name) hash = (hash * 31 + character.charCodeAt(0)) >>> 0;
    return hash % 40;
  };
  // A tree of nodes { name, own, total, children } in nanoseconds for each operation, or in all where there was none.
  const grow = (data, operations) => {
    const scale = data.ns / Math.max(1, operations);
    const root = { name: 'all', own: 0, total: 0, children: new Map(), before: 0 };
    const path = [root];
    for (let at = 0; at < data.frames.length; at += 3) {
      const [index, depth, own] = data.frames.slice(at, at + 3);
      path.length = depth + 1;
      const node = { name: data.names[index], own: own * scale, total: 0, children: new Map(), before: 0 };
      path[depth].children.set(node.name, node);
      path.push(node);
      for (const one of path) one.total += own * scale;
    }
    return root;
  };
  // Both trees in one: as wide as the wider of both, so that what vanished shows as well as what is new.
  const merge = (a, b, name) => {
    const node = { name, own: b ? b.own : 0, after: b ? b.total : 0, before: a ? a.total : 0, ownBefore: a ? a.own : 0, children: new Map() };
    const names = new Set([...(a ? a.children.keys() : []), ...(b ? b.children.keys() : [])]);
    let inner = 0;
    for (const child of names) {
      const one = merge(a && a.children.get(child), b && b.children.get(child), child);
      node.children.set(child, one);
      inner += one.total;
    }
    node.total = Math.max(node.after, node.before, inner);
    return node;
  };
  const visit = (node, act, path = []) => {
    act(node, path);
    path.push(node);
    for (const child of node.children.values()) visit(child, act, path);
    path.pop();
  };
  // Own and total time of each function; a recursive one counts once in a stack.
  const tabulate = (root) => {
    const rows = new Map();
    visit(root, (node, path) => {
      if (node === root) return;
      const name = plain(node.name);
      const row = rows.get(name) || { name, own: 0, total: 0, change: 0, kernel: node.name.endsWith('_[k]') };
      row.own += node.own;
      const outermost = !path.some((one) => plain(one.name) === name);
      if (outermost) {
        row.total += node.after === undefined ? node.total : node.after;
        row.change += node.after === undefined ? 0 : node.after - node.before;
      }
      rows.set(name, row);
    });
    return [...rows.values()];
  };
  // Who calls a function and whom it calls, with the time that passes between them.
  const neighbours = (root, name) => {
    const callers = new Map(), callees = new Map();
    const width = (node) => (node.after === undefined ? node.total : node.after);
    visit(root, (node, path) => {
      if (plain(node.name) !== name || node === root) return;
      const caller = path.length > 1 ? plain(path[path.length - 1].name) : '(outermost)';
      callers.set(caller, (callers.get(caller) || 0) + width(node));
      for (const child of node.children.values()) callees.set(plain(child.name), (callees.get(plain(child.name)) || 0) + width(child));
    });
    const sorted = (map) => [...map].sort((a, b) => b[1] - a[1]).slice(0, 12);
    return [sorted(callers), sorted(callees)];
  };

  const start = (box) => {
    const data = JSON.parse(document.getElementById(box.dataset.stacks).textContent);
    const views = [];
    for (const one of data.variants) {
      for (const [key, words] of [['on', 'on CPU'], ['off', 'off CPU']]) {
        if (one[key] && one[key].total) {
          views.push({ words: `${one.variant}: ${words}`, key, variant: one, root: grow(one[key], one.operations), about: key === 'on' ? one.about : 'waiting time of every thread, by the stack with which it left its CPU' });
        }
      }
    }
    const compared = data.variants.length > 1 && data.variants.slice(0, 2).every((one) => one.operations > 0);
    for (const [key, words] of [['on', 'difference on CPU'], ['off', 'difference off CPU']]) {
      const [a, b] = data.variants;
      if (compared && a[key] && b[key]) {
        views.push({ words, key: 'difference', root: merge(grow(a[key], a.operations), grow(b[key], b.operations), 'all'), about: `as wide as the wider of both; orange grew from ${a.variant} to ${b.variant}, blue shrank; a hatched frame is gone` });
      }
    }
    if (!views.length) return;
    // For a process that mostly waits, what it waits for comes first.
    const waits = views.findIndex((view) => view.key === 'off' && view.variant.cores < 0.5);
    let view = views[Math.max(0, waits)];
    let zoomed = view.root, selected = null, pattern = '', order = 'own';

    const choice = el('select', { ariaLabel: 'Which stacks' }, ...views.map((one, index) => el('option', { value: String(index), selected: one === view }, one.words)));
    const search = el('input', { type: 'search', placeholder: 'search a function', ariaLabel: 'Search a function' });
    const back = el('button', { type: 'button' }, 'whole graph');
    const found = el('span', { className: 'found', role: 'status' });
    const graph = el('div', { className: 'graph', tabIndex: 0, role: 'application', ariaLabel: `Flame graph of ${box.dataset.scenario}: arrow keys move, Enter zooms, Escape goes back` });
    const line = el('p', { className: 'legend', role: 'status' });
    const about = el('p', { className: 'legend' });
    const list = el('div', { className: 'scroll functions', role: 'region', tabIndex: 0, ariaLabel: 'Functions' });
    const sandwich = el('div', { className: 'sandwich' });
    box.append(el('div', { className: 'bar' }, choice, search, back, found), about, graph, line, el('div', { className: 'beside' }, list, sandwich));

    const per = () => (view.variant && !view.variant.operations ? '' : ` a ${data.unit}`);
    const describe = (node) => {
      const share = node.total / view.root.total;
      if (node.after !== undefined) return `${plain(node.name)}: ${time(node.before)} → ${time(node.after)}${per()} (${signed(node.after - node.before)})`;
      return `${plain(node.name)}: ${time(node.total)}${per()}, ${percent(share)} of all; itself ${time(node.own)}`;
    };
    const matches = (name) => pattern && name.toLowerCase().includes(pattern);
    let frames = [];
    const paint = () => {
      frames = [];
      const width = graph.clientWidth || 800;
      const pieces = document.createDocumentFragment();
      let deepest = 0;
      const place = (node, x, size, depth, parent) => {
        if (size < 1) return;
        deepest = Math.max(deepest, depth);
        const classes = ['frame'];
        let colour;
        if (node.after !== undefined) {
          const moved = (node.after - node.before) / Math.max(node.after, node.before, 1e-9);
          const strength = Math.min(1, Math.abs(node.after - node.before) / view.root.total * 4 + Math.abs(moved) * 0.15);
          colour = moved >= 0 ? `hsl(24 ${(90 * strength).toFixed(0)}% ${(88 - 28 * strength).toFixed(0)}%)` : `hsl(210 ${(85 * strength).toFixed(0)}% ${(88 - 26 * strength).toFixed(0)}%)`;
          if (!node.after) classes.push('gone');
        } else if (view.key === 'off') colour = `hsl(${205 + hue(node.name)} 55% 76%)`;
        else colour = node.name.endsWith('_[k]') ? `hsl(${20 + hue(node.name) / 4} 80% 72%)` : `hsl(${42 + hue(node.name) / 3} 85% 74%)`;
        if (matches(node.name)) classes.push('hit');
        const item = el('div', { className: classes.join(' '), title: describe(node) });
        Object.assign(item.style, { left: x.toFixed(2) + 'px', top: depth * ROW + 'px', width: Math.max(size - 0.5, 0.5).toFixed(2) + 'px', background: colour });
        if (size > 26) item.textContent = plain(node.name);
        const frame = { node, item, depth, x, parent };
        item.addEventListener('click', () => { pick(frame); zoom(node); });
        item.addEventListener('mouseenter', () => { line.textContent = describe(node); });
        frames.push(frame);
        pieces.append(item);
        let left = x;
        for (const child of [...node.children.values()].sort((a, b) => (a.name < b.name ? -1 : 1))) {
          const part = node.total ? (child.total / node.total) * size : 0;
          place(child, left, part, depth + 1, frame);
          left += part;
        }
      };
      place(zoomed, 0, width, 0, null);
      graph.replaceChildren(pieces);
      graph.style.height = (deepest + 1) * ROW + 'px';
      const hits = pattern ? frames.filter((one) => matches(one.node.name)) : [];
      const own = hits.filter((one) => { for (let up = one.parent; up; up = up.parent) if (matches(up.node.name)) return false; return true; });
      const total = own.reduce((sum, one) => sum + one.node.total, 0);
      found.textContent = pattern ? `${hits.length} frames, ${percent(total / zoomed.total)} of what is shown` : '';
      back.disabled = zoomed === view.root;
      about.textContent = view.about;
      if (!line.textContent) line.textContent = describe(zoomed);
      const chosen = frames.find((one) => one.node === (selected && selected.node));
      if (chosen) { selected = chosen; chosen.item.classList.add('chosen'); }
    };
    const zoom = (node) => { zoomed = node; paint(); };
    const pick = (frame) => {
      if (!frame) return;
      if (selected) selected.item.classList.remove('chosen');
      selected = frame;
      frame.item.classList.add('chosen');
      line.textContent = describe(frame.node);
      between(plain(frame.node.name));
    };
    const focus = (name) => {
      search.value = name;
      pattern = name.toLowerCase();
      paint();
      between(name);
    };
    const link = (name) => { const one = el('button', { type: 'button', className: 'name' }, name); one.addEventListener('click', () => focus(name)); return one; };
    const between = (name) => {
      const [callers, callees] = neighbours(view.root, name);
      const side = (words, rows) => el('div', {}, el('h5', {}, words), el('ul', {}, ...rows.map(([other, ns]) => el('li', {}, time(ns) + ' ', other === '(outermost)' || other === 'all' ? other : link(other)))));
      sandwich.replaceChildren(el('p', {}, el('strong', {}, name)), side('called by', callers), side('calls', callees));
    };
    const tabled = () => {
      const rows = tabulate(view.root).filter((row) => !pattern || matches(row.name));
      const differs = view.key === 'difference';
      const by = differs && order === 'own' ? 'change' : order;
      rows.sort((a, b) => Math.abs(b[by]) - Math.abs(a[by]) || (a.name < b.name ? -1 : 1));
      const heads = [['own', 'self' + per()], ['total', 'total' + per()], ['', 'share'], ...(differs ? [['change', 'change']] : [])];
      const head = el('tr', {}, el('th', { scope: 'col' }, 'function'), ...heads.map(([key, words]) => {
        if (!key) return el('th', { scope: 'col', className: 'n' }, words);
        const sort = el('button', { type: 'button' }, words + (by === key ? ' ▾' : ''));
        sort.addEventListener('click', () => { order = key; tabled(); });
        return el('th', { scope: 'col', className: 'n', ariaSort: by === key ? 'descending' : 'none' }, sort);
      }));
      const body = rows.slice(0, SHOWN).map((row) => el('tr', {}, el('th', { scope: 'row' }, link(row.name), row.kernel ? ' (kernel)' : ''),
        el('td', { className: 'n' }, time(row.own)), el('td', { className: 'n' }, time(row.total)), el('td', { className: 'n' }, percent(row.own / view.root.total)),
        ...(differs ? [el('td', { className: 'n' }, signed(row.change))] : [])));
      list.replaceChildren(el('table', {}, el('thead', {}, head), el('tbody', {}, ...body)));
    };
    const all = () => { paint(); tabled(); };
    choice.addEventListener('change', () => { view = views[Number(choice.value)]; zoomed = view.root; selected = null; line.textContent = ''; sandwich.replaceChildren(); all(); });
    search.addEventListener('input', () => { pattern = search.value.trim().toLowerCase(); all(); });
    back.addEventListener('click', () => zoom(view.root));
    graph.addEventListener('keydown', (press) => {
      const at = selected && frames.includes(selected) ? selected : null;
      const level = at ? frames.filter((one) => one.depth === at.depth).sort((a, b) => a.x - b.x) : [];
      const next = {
        ArrowDown: () => (at ? frames.find((one) => one.parent === at) : frames[0]),
        ArrowUp: () => at && at.parent,
        ArrowRight: () => level[level.indexOf(at) + 1],
        ArrowLeft: () => level[level.indexOf(at) - 1],
      }[press.key];
      if (next) pick(next() || at || frames[0]);
      else if (press.key === 'Enter' && at) zoom(at.node);
      else if (press.key === 'Escape') zoom(view.root);
      else if (press.key === '/') search.focus();
      else return;
      press.preventDefault();
    });
    new ResizeObserver(() => { if (graph.clientWidth !== paint.width) { paint.width = graph.clientWidth; paint(); } }).observe(graph);
    all();
  };
  for (const box of document.querySelectorAll('.flames')) {
    // What is folded has no width yet, and much of it is never looked at.
    const begin = () => { if (!box.dataset.begun && box.clientWidth) { box.dataset.begun = '1'; start(box); } };
    new ResizeObserver(begin).observe(box);
    begin();
  }
})();
