"""A process that draws: a Vega-Lite spec a line comes in, an SVG (a JSON string, or null) a line goes out.

Of a line `{"svg": ..., "scale": ...}` a PNG goes out, in base64.

Run as a file of its own. The library that draws keeps Python's interpreter lock while it works, so in
a run's own process every query would wait for it.
"""

from __future__ import annotations

import base64
import json
import sys


def main() -> None:
    """Draws until its input ends."""
    import vl_convert

    # Half a second's work, done before the first chart is there.
    vl_convert.vegalite_to_svg({"data": {"values": [{}]}, "mark": "point"}, allowed_base_urls=[])
    for spec in sys.stdin:
        try:
            if spec.startswith('{"svg": '):
                asked = json.loads(spec)
                png = vl_convert.svg_to_png(asked["svg"], scale=asked["scale"])
                drawn = base64.b64encode(png).decode()
            else:
                drawn = vl_convert.vegalite_to_svg(spec, allowed_base_urls=[])
        except ValueError:
            drawn = None  # whoever asked draws it again and hears why not
        sys.stdout.write(json.dumps(drawn) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
