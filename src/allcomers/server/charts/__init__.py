"""Charts, and the pages that show them: one palette and one look for the dashboard and for every report.

chart.py    what a chart shows, as plain values: Lines (Axis, Series, Mark, Cell) and Rows (Row). Its `unit` says how an
            axis writes its values, the same in Python (units.py) and in the page (charts.js).
page.py     page(title=…, verdict=…, facts=…, body=…, scripts=…, style=…) is a whole report, one file that asks for
            nothing: header, body, uPlot. figure(chart) is a chart in the body. A script may use what charts.js has:
            charts.make(figure, spec) draws, charts.format[unit](value) writes, charts.made has all charts by their ids.
picture.py  picture(chart) is the same chart as an SVG of its own, for docs and for people to share.
palette.py  the colours: --ink, --soft, --rule, --paper, --back, --serve, --wait, --costs, and --c0 to --c9 for series.

assets/ has the files of pages: page.css, charts.js, and uPlot as it came (MIT, see uplot/LICENSE and uplot/VERSION).
"""
