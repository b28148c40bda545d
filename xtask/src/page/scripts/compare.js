// The same question under two policies, after a change of settings.
choose('compare', 'causal');
press('Regenerate');
await answered(2);
return all('.answer h3').map((it) => it.textContent).join('|');
