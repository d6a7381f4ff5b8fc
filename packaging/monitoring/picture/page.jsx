// The dashboard's panels, where and as Grafana shows them, by Grafana's own components.

import { createTheme, dateTime, getFieldDisplayValues } from '@grafana/data';
import {
  BigValue,
  GlobalStyles,
  LegendDisplayMode,
  PanelChrome,
  Table,
  ThemeContext,
  TimeSeries,
} from '@grafana/ui';
import { createRoot } from 'react-dom/client';

import dashboard from '../grafana-dashboard.json';
import { seriesFrames, tableFrame } from './frames.js';

// Grafana's grid: 24 columns, rows of 30 pixels and gaps of 8.
const [COLUMNS, ROW, GAP, WIDTH] = [24, 30, 8, 1600];
const theme = createTheme({ colors: { mode: 'dark' } });
const { answers, from, to } = window.prometheus;
const timeRange = { from: dateTime(from), to: dateTime(to), raw: { from: dateTime(from), to: dateTime(to) } };

function Stat({ panel, frames, width, height }) {
  const values = getFieldDisplayValues({
    fieldConfig: panel.fieldConfig,
    reduceOptions: panel.options.reduceOptions,
    replaceVariables: (text) => text,
    theme,
    data: frames,
    sparkline: panel.options.graphMode === 'area',
    timeZone: 'utc',
  });
  return (
    <div style={{ display: 'flex' }}>
      {values.map(({ display, sparkline }, index) => (
        <BigValue
          key={index}
          theme={theme}
          width={width / values.length}
          height={height}
          value={display}
          sparkline={sparkline}
          colorMode={panel.options.colorMode}
          graphMode={panel.options.graphMode}
          justifyMode="auto"
          textMode="value"
        />
      ))}
    </div>
  );
}

function Visualisation({ panel, answers: own, width, height }) {
  if (panel.type === 'table') {
    return own[0].data.result.length ? (
      <Table data={tableFrame(panel, own, theme)} width={width} height={height} />
    ) : (
      'No data'
    );
  }
  const frames = seriesFrames(panel, own, theme);
  if (!frames.length) {
    return 'No data';
  }
  if (panel.type === 'stat') {
    return <Stat panel={panel} frames={frames} width={width} height={height} />;
  }
  const legend = { ...panel.options.legend, showLegend: true };
  legend.displayMode = legend.displayMode === 'table' ? LegendDisplayMode.Table : LegendDisplayMode.List;
  return (
    <TimeSeries
      frames={frames}
      width={width}
      height={height}
      timeRange={timeRange}
      timeZone="utc"
      legend={legend}
      options={{}}
    />
  );
}

function Panel({ panel }) {
  const column = (WIDTH - GAP) / COLUMNS;
  const { x, y, w, h } = panel.gridPos;
  const place = {
    position: 'absolute',
    left: GAP + x * column,
    top: GAP + y * (ROW + GAP),
    width: w * column - GAP,
    height: h * (ROW + GAP) - GAP,
  };
  if (panel.type === 'row') {
    return <h4 style={place}>⌄ {panel.title}</h4>;
  }
  return (
    <div style={place}>
      <PanelChrome title={panel.title} description={panel.description} width={place.width} height={place.height}>
        {(width, height) => <Visualisation panel={panel} answers={answers[panel.id]} width={width} height={height} />}
      </PanelChrome>
    </div>
  );
}

const bottom = Math.max(...dashboard.panels.map(({ gridPos }) => gridPos.y + gridPos.h));
createRoot(document.getElementById('dashboard')).render(
  <ThemeContext.Provider value={theme}>
    <GlobalStyles />
    <div style={{ position: 'relative', width: WIDTH + GAP, height: GAP + bottom * (ROW + GAP) }}>
      {dashboard.panels.map((panel) => (
        <Panel key={panel.id} panel={panel} />
      ))}
    </div>
  </ThemeContext.Provider>
);
