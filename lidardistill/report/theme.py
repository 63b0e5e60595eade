"""How the page looks: one style sheet, dark on light, system fonts, no script."""

from __future__ import annotations

from lidardistill.report.draw.palette import FAINT, GRID, INK

STYLE = f"""
:root {{ color-scheme: light; }}
* {{ box-sizing: border-box; }}
body {{ margin: 0 auto; max-width: 1000px; padding: 36px 24px 64px; background: #fff; color: {INK};
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", Arial, sans-serif; }}
h1 {{ font-size: 30px; line-height: 1.2; margin: 0 0 4px; letter-spacing: -0.01em; }}
h2 {{ font-size: 21px; margin: 44px 0 6px; padding-top: 20px; border-top: 1px solid {GRID}; }}
h3 {{ font-size: 16px; margin: 30px 0 4px; }}
p {{ margin: 4px 0 12px; max-width: 92ch; }}
.lead {{ color: {FAINT}; margin: 10px 0 20px; font-size: 15px; }}
.claim {{ font-size: 20px; line-height: 1.4; margin: 18px 0 16px; }}
.note {{ background: #fff6e5; border-left: 4px solid #E69F00; padding: 8px 14px; margin: 10px 0 14px; }}
figure {{ margin: 12px 0 26px; }}
figure img {{ width: 100%; height: auto; display: block; }}
figcaption {{ color: {FAINT}; font-size: 15px; margin-top: 8px; max-width: 108ch; }}
.bars {{ display: grid; grid-template-columns: max-content 1fr max-content;
  gap: 7px 14px; align-items: center; }}
.bars .track {{ background: #f2f4f6; height: 26px; }}
.bars .fill {{ height: 100%; }}
.bars .value {{ font-variant-numeric: tabular-nums; text-align: right; }}
.bars .value b {{ font-size: 19px; }}
.bars .difference {{ color: {FAINT}; font-size: 14px; margin-left: 6px; }}
.bars .name small {{ display: block; color: {FAINT}; font-size: 13px; line-height: 1.25; }}
.classes {{ columns: 2; column-gap: 44px; margin-top: 14px; }}
.class {{ break-inside: avoid; display: grid; grid-template-columns: 158px 1fr;
  column-gap: 10px; align-items: center;
  padding: 5px 0; border-bottom: 1px solid {GRID}; }}
.class .rows {{ display: grid; grid-template-columns: 1fr 36px; gap: 2px 8px; align-items: center; }}
.class .track {{ height: 9px; background: #f2f4f6; }}
.class .fill {{ height: 100%; }}
.class .value {{ font: 12px/1.1 ui-monospace, "DejaVu Sans Mono", monospace; text-align: right; }}
.class .value.first {{ font-weight: 700; }}
.legend {{ display: flex; flex-wrap: wrap; gap: 4px 22px; margin: 8px 0; }}
.legend i {{ display: inline-block; width: 14px; height: 14px; margin-right: 7px; vertical-align: -2px; }}
table {{ border-collapse: collapse; width: 100%; font-size: 14px; }}
th, td {{ text-align: left; vertical-align: top; padding: 6px 14px 6px 0; border-bottom: 1px solid {GRID}; }}
th {{ color: {FAINT}; font-weight: 600; }}
td.number, th.number {{ text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }}
code {{ font: 13px/1.4 ui-monospace, "DejaVu Sans Mono", monospace; overflow-wrap: anywhere; }}
dt {{ font-weight: 600; margin-top: 12px; }}
dd {{ margin: 0; max-width: 92ch; color: #3a414a; }}
@media (max-width: 700px) {{ .classes {{ columns: 1; }} }}
@media print {{ h2 {{ break-after: avoid; }} figure {{ break-inside: avoid; }} }}
"""
