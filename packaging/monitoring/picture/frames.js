// Prometheus' answers as Grafana's data frames.

import { FieldType, getDisplayProcessor, getMinMaxAndDelta, toDataFrame } from '@grafana/data';

/** The name of a series: the target's legend with labels filled in. */
function nameOf(legend, metric) {
  return (legend || '').replace(/{{\s*(\w+)\s*}}/g, (_, label) => metric[label] ?? '') || metric.__name__ || 'Value';
}

function withDisplay(frame, panel, theme) {
  for (const field of frame.fields) {
    if (field.type === FieldType.number) {
      const { defaults } = panel.fieldConfig;
      field.config = { ...defaults, ...field.config, custom: { ...defaults.custom } };
      field.config.color ??= { mode: panel.type === 'stat' ? 'thresholds' : 'palette-classic' };
    }
    field.display = getDisplayProcessor({ field, theme });
  }
  return frame;
}

/** A frame for each series of each target. Answers are of query_range, in the order of the targets. */
export function seriesFrames(panel, answers, theme) {
  let seriesIndex = 0;
  return answers.flatMap((answer, target) =>
    answer.data.result.map((series) => {
      const name = nameOf(panel.targets[target].legendFormat, series.metric);
      const frame = toDataFrame({
        refId: panel.targets[target].refId,
        fields: [
          { name: 'Time', type: FieldType.time, values: series.values.map(([time]) => time * 1000) },
          {
            name: 'Value',
            type: FieldType.number,
            config: { displayNameFromDS: name },
            values: series.values.map(([, value]) => Number(value)),
          },
        ],
      });
      withDisplay(frame, panel, theme);
      const range = getMinMaxAndDelta(frame.fields[1]);
      frame.fields[1].state = { seriesIndex: seriesIndex++, displayName: name, range };
      return frame;
    })
  );
}

/** One frame with a row for each sample that is there at the end; columns are the labels that the panel keeps. */
export function tableFrame(panel, [answer], theme) {
  const hidden = Object.assign({}, ...(panel.transformations ?? []).map(({ options }) => options.excludeByName));
  const rows = answer.data.result;
  const labels = [...new Set(rows.flatMap(({ metric }) => Object.keys(metric)))].filter((label) => !hidden[label]);
  const fields = labels.sort().map((name) => ({
    name,
    type: FieldType.string,
    values: rows.map(({ metric }) => metric[name] ?? ''),
  }));
  return withDisplay(toDataFrame({ fields }), panel, theme);
}
