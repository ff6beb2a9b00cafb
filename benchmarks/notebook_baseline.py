"""The baseline of the speed benchmark: the studies as a plain notebook would answer them.

pandas, scikit-learn, matplotlib and seaborn, one function per study, nothing slow on purpose and nothing
exotic. It reads a TellCo-shaped CSV and writes tables (CSV), charts (SVG) and one HTML page.

    python benchmarks/notebook_baseline.py CSV OUT_DIR

Settings: sessions without MSISDN are left out. "Treated" means that missing values and values outside the
1.5 IQR fences (linear quantiles of the observed values) become the mean of the observed values; categories
become the mode, except handsets. Session DL is `Total DL` + `Other DL`, because the file's total leaves
Other out. The first `Dur. (ms)` holds seconds and is used as duration. z-scores use the population standard
deviation, the spread in the variable table the sample one. k-means has ten starts; silhouettes use one
sample of 10,000 subscribers. A session's metric is observed when both directions are; a subscriber is
"never observed" when all sessions lack one of the three metrics. The last line printed is JSON: seconds
per stage, total and peak memory.
"""

# ruff: noqa: E402  (the clock starts before the imports, because importing is part of the run)
import time

STARTED = time.perf_counter()

import base64
import html
import json
import re
import resource
import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from sklearn.cluster import KMeans
from sklearn.compose import make_column_transformer
from sklearn.decomposition import PCA
from sklearn.dummy import DummyRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression
from sklearn.metrics import adjusted_rand_score, r2_score, silhouette_score
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

SEED = 42
STARTS = 10
SILHOUETTE_SAMPLE = 10_000
CHART_SAMPLE = 5_000
MIN_HANDSET_SUBSCRIBERS = 100
NO_DIFFERENCE = 0.05  # a relative gap below this is called no clear difference
LOW_R2 = 0.3
ID = "MSISDN/Number"
IDENTIFIERS = ["Bearer Id", "IMSI", ID, "IMEI"]
TIMES = ["Start", "End"]
CATEGORIES = ["Last Location Name", "Handset Manufacturer", "Handset Type"]
APPS = ["Social Media", "Google", "Email", "Youtube", "Netflix", "Gaming", "Other"]
DIRECTIONS = {
    "rtt_ms": ("Avg RTT DL (ms)", "Avg RTT UL (ms)"),
    "tcp_retransmission_bytes": ("TCP DL Retrans. Vol (Bytes)", "TCP UL Retrans. Vol (Bytes)"),
    "throughput_kbps": ("Avg Bearer TP DL (kbps)", "Avg Bearer TP UL (kbps)"),
}
VOLUMES = ["dl_bytes", "ul_bytes", "total_bytes"]
ENGAGEMENT = ["session_count", "duration_s", "total_bytes"]
EXPERIENCE = list(DIRECTIONS)
SCORES = ["engagement_score", "experience_score"]
MEANINGS = [  # pattern in the column's name, unit, meaning, importance to the goal
    (r"^(dl|ul|total)_bytes", "bytes", "volume of the session", "high: traffic is the engagement metric"),
    (r"^duration", "in the name", "session duration", "high: an engagement metric"),
    (r"RTT|Retrans|Bearer TP", "as named", "quality per direction", "high: defines experience"),
    (r"Bytes", "bytes", "volume of an application, protocol or all", "high: what subscribers do"),
    (r"TP [<>]|TP .*\(%\)|< DL TP|< UL TP", "%", "share of time by throughput", "medium: predictor"),
    (r"Nb of sec", "s", "seconds by volume band", "low: mostly missing"),
    (r"Activity", "ms", "time active", "medium: predictor"),
    (r"Handset", "text", "the device", "high: marketing and quality by device"),
    (r"Location", "text", "cell at the session's end", "medium: capacity"),
    (r"^(Start|End)", "time or ms", "session limits", "medium: hours of use, coverage"),
    (r"", "identifier", "who or what", "needed to group, no value of its own"),
]


class Page:
    """Tables, charts and readings in order, saved as they come; the page and the timings at the end."""

    def __init__(self, folder):
        self.folder, self.parts, self.seconds, self.charts, self.drawing = folder, [], {}, 0, 0.0
        (folder / "charts").mkdir(parents=True, exist_ok=True)
        (folder / "tables").mkdir(exist_ok=True)

    def text(self, *lines):
        self.parts += [f"<p>{html.escape(line)}</p>" for line in lines]

    def table(self, name, frame, title, draw=None):
        """Save one table, with its chart where there is one."""
        frame.to_csv(self.folder / "tables" / f"{name}.csv")
        shown = frame.head(60).to_html(float_format="{:,.4g}".format)
        self.parts.append(f"<h3>{html.escape(title)}</h3>{shown}")
        if draw:
            self.chart(name, title, draw, [(frame,)])

    def chart(self, name, title, draw, panels=((),), columns=1, size=(8, 4)):
        """Save one figure; `draw(axis, *panel)` is called for each panel."""
        start = time.perf_counter()
        rows = -(-len(panels) // columns)
        figure, axes = plt.subplots(rows, columns, figsize=size, squeeze=False)
        for axis, panel in zip(axes.flat, panels, strict=False):
            draw(axis, *panel)
        for axis in axes.flat[len(panels) :]:
            axis.axis("off")
        figure.tight_layout()
        path = self.folder / "charts" / f"{name}.svg"
        figure.savefig(path)
        plt.close(figure)
        image = base64.b64encode(path.read_bytes()).decode()
        self.parts.append(f'<img alt="{html.escape(title)}" src="data:image/svg+xml;base64,{image}">')
        self.charts += 1
        self.drawing += time.perf_counter() - start

    def run(self, stage, step, *inputs):
        """Run one stage and note its seconds, those of its charts apart."""
        start, drawn = time.perf_counter(), self.drawing
        self.parts.append(f"<h2>{html.escape(stage)}</h2>")
        result = step(self, *inputs)
        charts = self.drawing - drawn
        self.seconds[stage] = round(time.perf_counter() - start - charts, 3)
        if charts:
            self.seconds[f"{stage} charts"] = round(charts, 3)
        return result

    def write(self):
        style = "body{font-family:sans-serif;max-width:70em;margin:auto}td{font-size:12px}img{max-width:100%}"
        page = f"<!doctype html><meta charset=utf-8><title>Studies</title><style>{style}</style>"
        (self.folder / "report.html").write_text(page + "\n".join(self.parts), encoding="utf-8")


def load(page, path):
    """Read the file, check what is known to be odd in it, and keep the sessions that have a subscriber."""
    frame = pd.read_csv(path, dtype={"Bearer Id": str, "Last Location Name": str})
    frame = frame.rename(columns={"Dur. (ms)": "duration_s", "Dur. (ms).1": "duration_ms"})
    read = len(frame)
    frame = frame[frame[ID].notna()].drop_duplicates().reset_index(drop=True)
    frame[ID] = frame[ID].astype("int64")
    for column in TIMES:
        frame[column] = pd.to_datetime(frame[column], format="%m/%d/%Y %H:%M")
    handset = ["Handset Type", "Handset Manufacturer"]
    frame[handset] = frame[handset].replace("undefined", np.nan)
    frame["dl_bytes"] = frame["Total DL (Bytes)"] + frame["Other DL (Bytes)"]
    frame["ul_bytes"] = frame["Total UL (Bytes)"]
    frame["total_bytes"] = frame["dl_bytes"] + frame["ul_bytes"]
    span = (frame["End"] - frame["Start"]).dt.total_seconds() + (frame["End ms"] - frame["Start ms"]) / 1000
    by_app = frame[[f"{app} DL (Bytes)" for app in APPS]].sum(axis=1)
    lengths = frame[ID].drop_duplicates().astype(str).str.len()
    checks = {
        "rows read": read,
        "sessions with a subscriber": len(frame),
        "subscribers": len(lengths),
        "malformed MSISDN": (lengths != lengths.mode()[0]).sum(),
        "first Dur. / (End - Start), median": (frame["duration_s"] / span.where(span > 0)).median(),
        "largest |sum of applications' DL - dl_bytes|": (by_app - frame["dl_bytes"]).abs().max(),
    }
    page.table("checks", pd.Series(checks, name="value").to_frame(), "The file")
    return frame


def treat(values):
    """Replace missing values and outliers by the mean of the observed; also say which were outliers."""
    low, high = values.quantile([0.25, 0.75])
    reach = 1.5 * (high - low)
    outlier = (values < low - reach) | (values > high + reach)
    return values.mask(outlier | values.isna(), values.mean()), outlier


def cluster(values, k):
    return KMeans(n_clusters=k, n_init=STARTS, random_state=SEED).fit(values)


def ordered(model, goodness):
    """Labels and centroids renumbered so that cluster 0 has the lowest goodness."""
    order = np.argsort(goodness(model.cluster_centers_))
    return np.argsort(order)[model.labels_], model.cluster_centers_[order]


def distance_and_index(points, worst, best):
    """Distance to the worst centroid, and how far from it towards the best one, 0 to 100."""
    axis = best - worst
    along = (points - worst) @ axis / (axis @ axis)
    return np.linalg.norm(points - worst, axis=1), 100 * np.clip(along, 0, 1)


def elbow(inertia):
    """The k farthest below the chord between the first and the last point."""
    chord = np.linspace(inertia.iloc[0], inertia.iloc[-1], len(inertia))
    return int((chord - inertia).idxmax())


def commonest(frame, column):
    """Each subscriber's commonest known value; ties go to the first in the alphabet."""
    counts = frame.groupby([ID, column]).size().rename("n").reset_index()
    counts = counts.sort_values([ID, "n", column], ascending=[True, False, True])
    return counts.drop_duplicates(ID).set_index(ID)[column]


def gap(high, low):
    """Say how two numbers compare."""
    ratio = high / low - 1 if low else np.inf
    return "no clear difference" if abs(ratio) < NO_DIFFERENCE else f"{ratio:+.0%}"


def sample(length, size):
    return np.random.default_rng(SEED).choice(length, min(size, length), replace=False)


def scatter(z, labels, names):
    """A drawing of two of the dimensions for a sample of subscribers."""
    some = sample(len(z), CHART_SAMPLE)

    def draw(axis, x, y):
        sns.scatterplot(x=z[some, x], y=z[some, y], hue=labels[some], palette="viridis", s=8, ax=axis)
        axis.set(xlabel=names[x], ylabel=names[y])

    return draw


def bars(axis, frame):
    frame.plot.bar(ax=axis)


def flat_bars(axis, frame):
    frame[::-1].plot.barh(ax=axis)


def heatmap(axis, frame):
    sns.heatmap(frame, annot=True, fmt=".2f", cmap="vlag", center=0, ax=axis)


def profile(page, sessions):
    """One row per session of quality, and one per subscriber of everything."""
    quality = pd.DataFrame({ID: sessions[ID]})
    for metric, (down, up) in DIRECTIONS.items():
        quality[metric] = treat(sessions[down])[0] + treat(sessions[up])[0]
        quality[f"{metric}_raw"] = sessions[down] + sessions[up]
        quality[f"{metric}_filled_share"] = quality[f"{metric}_raw"].isna().astype(float)
    for app in APPS:
        sessions[app] = sessions[f"{app} DL (Bytes)"] + sessions[f"{app} UL (Bytes)"]
    by_user = sessions.groupby(ID)
    users = by_user[["duration_s", "dl_bytes", "ul_bytes", "total_bytes", *APPS]].sum()
    users.insert(0, "session_count", by_user.size())
    users = users.join(quality.groupby(ID).mean())
    users["handset"] = commonest(sessions, "Handset Type")
    users["manufacturer"] = commonest(sessions, "Handset Manufacturer")
    page.table("profile_statistics", users.describe().T, "Per subscriber: sessions, duration, volumes")
    return users, quality


def handsets(page, sessions):
    counted = {"sessions": (ID, "size"), "subscribers": (ID, "nunique")}
    types = sessions.groupby("Handset Type").agg(**counted)
    makers = sessions.groupby("Handset Manufacturer").agg(**counted).nlargest(3, "sessions")
    known = sessions[sessions["Handset Manufacturer"].isin(makers.index)]
    models = known.groupby(["Handset Manufacturer", "Handset Type"]).agg(**counted)
    models = models.sort_values("sessions", ascending=False).groupby(level=0).head(5)
    models = models.sort_index(level=0, sort_remaining=False)
    by_sessions, by_users = types.nlargest(10, "sessions"), types.nlargest(10, "subscribers")
    page.table("handsets_by_sessions", by_sessions, "Top 10 handsets by sessions", flat_bars)
    page.table("handsets_by_subscribers", by_users, "Top 10 handsets by subscribers")
    page.table("manufacturers", makers, "Top 3 manufacturers", flat_bars)
    page.table("handsets_per_manufacturer", models, "Top 5 handsets of the top 3 manufacturers")
    page.chart(
        "handsets_per_manufacturer",
        "top handsets of each manufacturer",
        flat_bars,
        [(models.loc[maker, "sessions"].rename_axis(maker),) for maker in makers.index],
        3,
        (15, 4),
    )
    unknown, share = sessions["Handset Type"].isna(), makers["sessions"].sum() / len(sessions)
    page.text(
        f"{unknown.sum():,} sessions ({unknown.mean():.1%}) have an unknown handset, not ranked.",
        f"{', '.join(makers.index)} carry {share:.0%} of sessions: campaigns "
        f"{'can be built around these three' if share > 0.5 else 'should not depend on the maker'}.",
        f"{by_sessions.index[0]} leads by sessions, {by_users.index[0]} by subscribers.",
    )


def statistics(values):
    low, median, high = values.quantile([0.25, 0.5, 0.75])
    mean, deviation = values.mean(), values.std()
    return {
        "mean": mean,
        "median": median,
        "mode": values.mode().iloc[0],
        "min": values.min(),
        "max": values.max(),
        "range": values.max() - values.min(),
        "iqr": high - low,
        "variance": deviation**2,
        "std": deviation,
        "cv": deviation / mean if mean else np.nan,
        "skew": values.skew(),
        "kurtosis": values.kurt(),
    }


def plot_variable(axis, values):
    """A bar for categories and identifiers, days for times, a histogram (log if skewed) for numbers."""
    axis.set_title(values.name)
    if values.name in CATEGORIES:
        values.value_counts().head(10)[::-1].plot.barh(ax=axis)
    elif values.name in IDENTIFIERS:
        values.value_counts().value_counts().sort_index().head(15).plot.bar(ax=axis)
        axis.set(xlabel="sessions per value", ylabel="values", yscale="log")
    elif values.name in TIMES:
        values.dt.date.value_counts().sort_index().plot.bar(ax=axis)
    else:
        observed = values.dropna()
        skewed = bool(observed.min() >= 0 and observed.skew() > 3)
        sns.histplot(x=observed[observed > 0] if skewed else observed, bins=40, log_scale=skewed, ax=axis)


def variables(page, sessions):
    """Type, unit, meaning, gaps, centre and spread of every variable, raw and treated, and its plot."""
    rows = {}
    for column in sessions.columns.drop(APPS):
        values = sessions[column]
        unit, meaning, importance = next(m[1:] for m in MEANINGS if re.search(m[0], column))
        row = {
            "type": str(values.dtype),
            "unit": unit,
            "meaning": meaning,
            "importance": importance,
            "missing": int(values.isna().sum()),
        }
        if column in CATEGORIES:
            row["mode"] = values.mode().iloc[0]
            # an unknown handset is never imputed
            treated = values if column.startswith("Handset") else values.fillna(row["mode"])
            row["mode_treated"], row["missing_treated"] = treated.mode().iloc[0], int(treated.isna().sum())
        elif column not in IDENTIFIERS + TIMES:
            treated, outlier = treat(values)
            row["outliers"] = int(outlier.sum())
            row |= statistics(values)
            row |= {f"{name}_treated": value for name, value in statistics(treated).items()}
        rows[column] = row
    page.table("variables", pd.DataFrame(rows).T, "Every variable, raw and treated")
    for number, column in enumerate(sessions.columns.drop([*APPS, *VOLUMES])):
        page.chart(f"variable_{number:02d}", column, plot_variable, [(sessions[column],)], size=(6, 3))


def overview(page, sessions, users):
    handsets(page, sessions)
    variables(page, sessions)
    relation = pd.DataFrame(
        {
            "correlation_with_total": users[APPS].corrwith(users["total_bytes"]),
            "share_of_total": users[APPS].sum() / users["total_bytes"].sum(),
        }
    )
    page.table("application_against_total", relation, "Each application against DL + UL (a part of it)")

    def against_total(axis, app):
        some = users[(users[app] > 0) & (users["total_bytes"] > 0)]
        axis.hexbin(some[app], some["total_bytes"], xscale="log", yscale="log", gridsize=30, mincnt=1)
        axis.set(xlabel=f"{app} bytes", ylabel="total bytes")

    page.chart(
        "application_against_total",
        "each application against total",
        against_total,
        [(app,) for app in APPS],
        4,
        (16, 7),
    )
    decile = (pd.qcut(users["duration_s"].rank(method="first"), 10, labels=False) + 1).rename("decile")
    deciles = users.groupby(decile)[["duration_s", *VOLUMES]].sum().assign(subscribers=decile.value_counts())
    page.table("deciles", deciles[::-1].head(5), "Top five deciles by total duration")
    page.chart("deciles", "total data by decile", bars, [(deciles["total_bytes"],)])
    page.table("correlation", users[APPS].corr(), "Correlation of application volumes", heatmap)
    components(page, users)


def components(page, users):
    pca = PCA().fit(StandardScaler().fit_transform(users[APPS]))
    names = [f"PC{i + 1}" for i in range(len(APPS))]
    explained = pd.Series(pca.explained_variance_ratio_, names, name="explained_share")
    loadings = pd.DataFrame(pca.components_.T, APPS, names)
    page.table("pca_explained", explained.to_frame(), "PCA: explained shares", bars)
    page.table("pca_loadings", loadings, "PCA: loadings", heatmap)
    first, needed = loadings["PC1"].abs(), int((explained.cumsum() < 0.8).sum()) + 1
    page.text(
        f"• The first component explains {explained.iloc[0]:.0%} of the variance.",
        f"• {needed} components reach 80%: the applications are "
        f"{'largely redundant' if needed <= 3 else 'hardly redundant'}.",
        f"• {first.idxmax()} weighs most on the first component, {first.idxmin()} least.",
        f"• {loadings['PC2'].abs().idxmax()} dominates the second ({explained.iloc[1]:.0%}).",
    )


def engagement(page, sessions, users):
    for metric in ENGAGEMENT:
        page.table(f"top_{metric}", users[[metric]].nlargest(10, metric), f"Top 10 subscribers by {metric}")
    z = StandardScaler().fit_transform(users[ENGAGEMENT])
    labels, centroids = ordered(cluster(z, 3), lambda c: c.mean(axis=1))
    users["engagement_cluster"] = labels
    users["engagement_score"], users["engagement_index"] = distance_and_index(z, centroids[0], centroids[-1])
    groups = users.groupby("engagement_cluster")
    summary, sizes = groups[ENGAGEMENT].agg(["min", "max", "mean", "sum"]), groups.size()
    page.table("engagement_clusters", summary, "Raw metrics per engagement cluster")
    page.table("engagement_sizes", sizes.to_frame("subscribers"), "Subscribers per engagement cluster")
    page.chart(
        "engagement_clusters",
        "engagement clusters",
        scatter(z, labels, ENGAGEMENT),
        [(0, 2), (1, 2)],
        2,
        (13, 5),
    )
    page.chart(
        "engagement_statistics",
        "raw metrics per cluster",
        lambda axis, *which: summary[which].plot.bar(ax=axis, title=" ".join(which)),
        list(summary.columns),
        4,
        (15, 9),
    )
    means = groups[ENGAGEMENT].mean()
    page.text(
        *(
            f"Cluster {c}: {sizes[c]:,} subscribers ({sizes[c] / len(users):.1%}), on average "
            f"{row.session_count:.2f} sessions and {row.total_bytes / 1e9:.2f} GB; traffic against the "
            f"mean: {gap(row.total_bytes, users['total_bytes'].mean())}."
            for c, row in means.iterrows()
        )
    )
    totals = users[APPS].sum().sort_values(ascending=False).rename("bytes")
    page.table("application_totals", totals.to_frame(), "Traffic per application", bars)
    for app in APPS:
        page.table(f"top_users_{app}", users[[app]].nlargest(10, app), f"Top 10 users of {app}")
    top = groups[list(totals.index[:3])].sum().T
    page.table("top_applications", top, "Top three applications by engagement cluster", bars)
    elbow_curve(page, z)
    application_use(page, sessions, users)
    capacity(page, sessions, users)


def elbow_curve(page, z):
    some = sample(len(z), SILHOUETTE_SAMPLE)
    rows = {}
    for k in range(1, 11):
        model = cluster(z, k)
        score = silhouette_score(z[some], model.labels_[some]) if k > 1 else np.nan
        rows[k] = {"inertia": model.inertia_, "silhouette": score}
    curve = pd.DataFrame.from_dict(rows, orient="index").rename_axis("k")
    page.table("elbow", curve, f"Inertia and silhouette (sample of {len(some):,})")
    page.chart(
        "elbow",
        "inertia and silhouette by k",
        lambda axis, column: column.plot(marker="o", ax=axis, title=column.name),
        [(curve[name],) for name in curve],
        2,
        (12, 4),
    )
    bend, best = elbow(curve["inertia"]), int(curve["silhouette"].idxmax())
    page.text(
        f"The elbow is at k = {bend}, the best silhouette at k = {best}: "
        f"they {'agree' if bend == best else 'disagree'}."
    )


def application_use(page, sessions, users):
    """Sessions and volume per application and cluster, and personas by the share that stands out most."""
    of_session = sessions[ID].map(users["engagement_cluster"])
    used = sessions[APPS].gt(0).groupby(of_session).sum()
    volume = users.groupby("engagement_cluster")[APPS].sum()
    both = pd.concat({"sessions": used.T, "bytes": volume.T}, axis=1, names=["measure", "cluster"])
    page.table("application_by_cluster", both, "Sessions and volume per application and cluster")
    page.chart(
        "application_by_cluster",
        "shares of sessions and volume by cluster",
        lambda axis, part: heatmap(axis, part.div(part.sum(axis=1), axis=0)),
        [(both["sessions"],), (both["bytes"],)],
        2,
        (14, 5),
    )
    shares = users[APPS].div(users["total_bytes"].where(users["total_bytes"] > 0), axis=0).dropna()
    users["persona"] = ((shares - shares.mean()) / shares.std(ddof=0)).idxmax(axis=1) + "-leaning"
    personas = users.groupby("persona").agg(
        subscribers=("total_bytes", "size"), mean_bytes=("total_bytes", "mean")
    )
    mix = pd.crosstab(users["persona"], users["engagement_cluster"], normalize="index").add_prefix("cluster_")
    page.table("personas", personas.join(mix), "Personas: the application whose share stands out most")
    page.chart("personas", "subscribers per persona", bars, [(personas["subscribers"],)])
    mean = personas["mean_bytes"]
    page.text(
        f"{mean.idxmax()} subscribers use the most data, {mean.idxmin()} the least "
        f"({gap(mean.max(), mean.min())})."
    )


def capacity(page, sessions, users):
    """Where each application's volume is: hours, cells and clusters."""
    hours = sessions.groupby(sessions["Start"].dt.hour)[APPS].sum()
    legible = ~sessions["Last Location Name"].str.contains("E+", regex=False, na=True)  # digits were lost
    cells = sessions[legible].groupby("Last Location Name")[APPS].sum()
    volume = users.groupby("engagement_cluster")[APPS].sum()
    hour_share, cluster_share = hours / hours.sum(), volume / volume.sum()
    percent = max(1, len(cells) // 100)
    places = pd.DataFrame(
        {
            "peak_hour": hours.idxmax(),
            "peak_hour_share": hour_share.max(),
            "busiest_cells": {app: ", ".join(cells[app].nlargest(5).index) for app in APPS},
            "top_1pct_cells_share": {
                app: cells[app].nlargest(percent).sum() / cells[app].sum() for app in APPS
            },
            "cluster": volume.idxmax(),
            "cluster_share": cluster_share.max(),
        }
    )
    page.table("capacity", places, "Where capacity for each application is best placed")
    page.chart("hours", "share of volume by hour of start", lambda axis: hour_share.plot(ax=axis))
    busiest = cells.loc[cells.sum(axis=1).nlargest(15).index]
    page.chart("cells", "busiest cells", lambda axis: busiest.plot.barh(stacked=True, ax=axis), size=(9, 5))
    page.text(
        *(
            f"{app}: "
            + ("no hour stands out" if row.peak_hour_share < 1.5 / 24 else f"peak at {row.peak_hour}:00")
            + f"; the busiest 1% of cells carry {row.top_1pct_cells_share:.0%}; "
            f"cluster {row.cluster} carries {row.cluster_share:.0%}."
            for app, row in places.iterrows()
        )
    )


def experience_model(users):
    """z-scores, clusters, distances to the worst centroid and index of a set of subscribers."""
    z = StandardScaler().fit_transform(users[EXPERIENCE])
    labels, centroids = ordered(cluster(z, 3), lambda c: c[:, 2] - c[:, 0] - c[:, 1])
    return z, labels, *distance_and_index(z, centroids[0], centroids[-1])


def experience(page, sessions, quality, users):
    for metric, directions in DIRECTIONS.items():
        extremes(page, metric, quality, fill=sum(sessions[column].mean() for column in directions))
    handset_quality(page, users)
    z, labels, users["experience_score"], users["experience_index"] = experience_model(users)
    users["experience_cluster"] = labels
    groups = users.groupby("experience_cluster")
    summary = groups[EXPERIENCE].mean().assign(subscribers=groups.size())
    page.table("experience_clusters", summary, "Experience clusters")
    page.chart(
        "experience_clusters",
        "experience clusters",
        scatter(z, labels, EXPERIENCE),
        [(0, 2), (1, 2)],
        2,
        (13, 5),
    )
    page.text(
        *(
            f"Cluster {c}: {row.subscribers:,.0f} subscribers; against the mean: "
            + ", ".join(f"{m} {gap(row[m], users[m].mean())}" for m in EXPERIENCE)
            + "."
            for c, row in summary.iterrows()
        )
    )
    return retest(page, users, summary)


def extremes(page, metric, quality, fill):
    """Ten top, bottom and most frequent session values, raw and treated, with the fill value marked."""
    both = {"raw": quality[f"{metric}_raw"].dropna(), "treated": quality[metric]}
    for kind, values in both.items():
        counts = values.value_counts().head(10)
        listed = pd.DataFrame(
            {
                "most_frequent": counts.index,
                "times": counts.array,
                "top": values.nlargest(10).array,
                "bottom": values.nsmallest(10).array,
            }
        )
        listed["is_fill_value"] = listed["most_frequent"].eq(fill) & (kind == "treated")
        page.table(f"{metric}_{kind}", listed, f"{metric}, {kind}: top, bottom and most frequent")
    logs = [np.log10(1 + values) for values in both.values()]
    page.chart(f"{metric}_distribution", metric, lambda axis: axis.hist(logs, bins=50, label=list(both)))
    page.text(
        f"{metric}: {quality[f'{metric}_filled_share'].mean():.0%} of sessions lack a direction; "
        f"{quality[metric].eq(fill).mean():.0%} carry the fill value {fill:,.1f}."
    )


def handset_quality(page, users):
    groups = users.groupby("handset")
    ranked = groups["throughput_kbps"].agg(subscribers="size", mean="mean", median="median", std="std")
    ranked["retransmission"] = groups["tcp_retransmission_bytes"].mean()
    ranked = ranked[ranked["subscribers"] >= MIN_HANDSET_SUBSCRIBERS]
    ranked = ranked.sort_values("subscribers", ascending=False)
    page.table("handset_quality", ranked, f"Handsets with at least {MIN_HANDSET_SUBSCRIBERS} subscribers")
    shown = ranked.index[:20]
    page.chart(
        "handset_throughput",
        "throughput per handset",
        lambda axis: sns.boxplot(
            users[users["handset"].isin(shown)],
            x="throughput_kbps",
            y="handset",
            order=shown,
            showfliers=False,
            ax=axis,
        ),
        size=(9, 7),
    )
    loss = ranked.loc[shown, "retransmission"]
    page.chart("handset_retransmission", "mean retransmission", flat_bars, [(loss,)], size=(9, 6))
    page.text(
        *(
            f"{name}: highest {values.idxmax()}, lowest {values.idxmin()} "
            f"({gap(values.max(), values.min())})."
            for name, values in ranked[["mean", "retransmission"]].items()
        )
    )


def retest(page, users, summary):
    """The same clusters and scores without the subscribers of whom some metric was never observed."""
    never = users[[f"{metric}_filled_share" for metric in EXPERIENCE]].eq(1).any(axis=1)
    kept = users[~never]
    _, labels, score, _ = experience_model(kept)
    again = kept[EXPERIENCE].groupby(labels).mean().assign(subscribers=np.bincount(labels))
    rand = adjusted_rand_score(kept["experience_cluster"], labels)
    rank = kept["experience_score"].corr(pd.Series(score, kept.index), method="spearman")
    page.table("experience_clusters_observed", again, "Experience clusters without the never-observed")
    facts = pd.Series({"never_observed_share": never.mean(), "rand_index": rand, "rank_correlation": rank})
    page.table("retest", facts.to_frame("value"), "Retest without the never-observed")
    means = pd.concat({"all": summary, "observed": again}, axis=1).swaplevel(axis=1)
    page.chart(
        "experience_means",
        "means per cluster, all and observed only",
        bars,
        [(means[metric].rename_axis(metric),) for metric in EXPERIENCE],
        3,
        (14, 4),
    )
    page.text(
        f"{never.mean():.0%} of subscribers lack a metric altogether. Without them the clusters "
        f"{'stay' if rand > 0.8 else 'change'} (adjusted Rand index {rand:.2f}) and the ranking "
        f"{'stays' if rank > 0.9 else 'changes'} (rank correlation {rank:.2f})."
    )
    return facts


def satisfaction(page, sessions, users):
    users["satisfaction_score"] = users[SCORES].mean(axis=1)
    users["satisfaction_index"] = users[["engagement_index", "experience_index"]].mean(axis=1)
    points = users[SCORES].to_numpy()
    labels, _ = ordered(cluster(points, 2), lambda c: c.mean(axis=1))
    users["satisfaction_cluster"] = labels
    top = users[[*SCORES, "satisfaction_score"]].nlargest(10, "satisfaction_score")
    page.table("top_satisfied", top, "Top 10 by satisfaction")
    groups = users.groupby("satisfaction_cluster")
    means = groups[["satisfaction_score", "experience_score"]].mean()
    counted = means.assign(subscribers=groups.size())
    page.table("satisfaction_clusters", counted, "Means per satisfaction cluster")
    page.chart("satisfaction_clusters", "satisfaction clusters", scatter(points, labels, SCORES), [(0, 1)])
    page.chart("satisfaction_means", "means per cluster", bars, [(means,)])
    page.chart(
        "satisfaction_distribution",
        "satisfaction score and index",
        lambda axis, column: sns.histplot(x=users[column], bins=60, ax=axis),
        [("satisfaction_score",), ("satisfaction_index",)],
        2,
        (12, 4),
    )
    rank = users["satisfaction_score"].corr(users["satisfaction_index"], method="spearman")
    score = means["satisfaction_score"]
    page.text(
        f"Mean satisfaction of cluster 1 against cluster 0: {gap(score[1], score[0])}. Score and "
        f"direction-aware index rank people {'alike' if rank > 0.8 else 'differently'} ({rank:.2f}).",
        f"Hypothesis, no finding: cluster 0 ({(labels == 0).sum():,} subscribers) is likelier to "
        "leave. The data hold neither churn nor feedback to test it.",
    )
    return regression(page, predictors(sessions, users), users)


def predictors(sessions, users):
    """What does not define the target: application mix, hours, handset, activity and throughput time."""
    total = users["total_bytes"].where(users["total_bytes"] > 0)
    mix = users[APPS[:-1]].div(total, axis=0).add_suffix(" share")  # the seventh follows from the six
    parts = ["night", "morning", "afternoon", "evening"]
    part = pd.cut(sessions["Start"].dt.hour, [-1, 5, 11, 17, 23], labels=parts)
    hours = pd.crosstab(sessions[ID], part, normalize="index").drop(columns="night").rename(columns=str)
    active = ["Activity Duration DL (ms)", "Activity Duration UL (ms)"]
    sums = sessions.groupby(ID)[[*active, "duration_ms"]].sum()
    activity = sums[active].div(sums["duration_ms"].where(sums["duration_ms"] > 0), axis=0)
    bands = sessions.groupby(ID)[[c for c in sessions.columns if c.endswith("(%)")]].mean()
    maker = users["manufacturer"].fillna("unknown")
    common = [*users["manufacturer"].value_counts().index[:10], "unknown"]
    features = pd.concat([mix, pd.DataFrame(hours), activity, bands], axis=1)
    return features.assign(manufacturer=maker.where(maker.isin(common), "rare"))


def regression(page, features, users):
    leaks = {*ENGAGEMENT, *EXPERIENCE, *SCORES, *VOLUMES, *APPS} & set(features.columns)
    if leaks:
        raise ValueError(f"features that define the target: {sorted(leaks)}")
    target = users["satisfaction_score"]
    train, test = train_test_split(users.index, test_size=0.2, random_state=SEED)
    numbers = list(features.columns.drop("manufacturer"))
    prepare = make_column_transformer(
        (make_pipeline(SimpleImputer(), StandardScaler()), numbers),
        (OneHotEncoder(handle_unknown="ignore"), ["manufacturer"]),
    )
    models = {
        "identity (exact by construction)": (LinearRegression(), users[SCORES]),
        "mean": (DummyRegressor(), features),
        "behaviour": (make_pipeline(prepare, LinearRegression()), features),
    }
    rows, residuals = {}, {}
    for name, (model, inputs) in models.items():
        predicted = model.fit(inputs.loc[train], target[train]).predict(inputs.loc[test])
        residuals[name] = target[test] - predicted
        rows[name] = {
            "r2": r2_score(target[test], predicted),
            "mae": residuals[name].abs().mean(),
            **residuals[name].describe().add_prefix("residual_").to_dict(),
        }
    table = pd.DataFrame.from_dict(rows, orient="index")
    page.table("regression", table, f"Regression on {len(test):,} held-out subscribers")
    few = test[sample(len(test), CHART_SAMPLE)]
    shown = [(residuals[name].rename(name),) for name in (*models,)[::2]]
    page.chart(
        "regression",
        "actual by predicted",
        lambda axis, residual: axis.scatter((target - residual)[few], target[few], s=4),
        shown,
        2,
        (12, 4),
    )
    page.chart("residuals", "residuals", lambda axis, values: axis.hist(values, bins=60), shown, 2, (12, 4))
    r2, mae = table.loc["behaviour", "r2"], table["mae"]
    page.text(
        f"Behaviour explains {'little' if r2 < LOW_R2 else 'a useful share'} of satisfaction: "
        f"R2 {r2:.3f}, absolute error {mae['behaviour']:.3f} against {mae['mean']:.3f} for the mean."
    )
    return r2


def memo(page, sessions, users, retested, r2):
    """For a buyer: each line from the numbers, with the threshold that would flip it."""
    volume, size = users.groupby("engagement_cluster")["total_bytes"].sum(), users["engagement_cluster"]
    carried, head = volume[2] / volume.sum(), (size == 2).mean()
    worst, unsatisfied = users[["experience_cluster", "satisfaction_cluster"]].eq(0).mean()
    slow = (users["rtt_ms_raw"].dropna() > 200).mean()
    never, rand = retested["never_observed_share"], retested["rand_index"]
    day = sessions["Start"].dt.date
    busiest = day.value_counts(normalize=True).head(3).sum()
    late = day > sorted(day.unique())[day.nunique() // 2]
    both = len(set(sessions.loc[late, ID]) & set(sessions.loc[~late, ID])) / len(users)
    top = users[APPS].sum().nlargest(3) / users["total_bytes"].sum()
    buy = worst < 0.4 and busiest < 0.5 and never < 0.25
    lines = [
        (
            "Strengths",
            "1.5 times their share",
            f"The most engaged {head:.0%} carry {carried:.0%} of traffic: "
            f"{'an engaged core' if carried > 1.5 * head else 'no engaged core'}.",
        ),
        (
            "Technical issues",
            "40%",
            f"The worst experience cluster holds {worst:.0%}: {'widespread' if worst > 0.4 else 'limited'}.",
        ),
        (
            "Technical issues",
            "10%",
            f"{slow:.1%} of those measured exceed 200 ms RTT: {'widespread' if slow > 0.1 else 'limited'}.",
        ),
        (
            "Required actions",
            "25%",
            f"{never:.0%} lack a quality metric: "
            f"{'measure quality first' if never > 0.25 else 'upgrade the busiest cells'}.",
        ),
        *(
            (
                "Plans",
                "20% of traffic",
                f"{app}: {share:.0%} of traffic, "
                f"{'a plan of its own' if share > 0.2 else 'part of a bundle'}.",
            )
            for app, share in top.items()
        ),
        (
            "Expected returns",
            "churn or revenue data",
            f"If a tenth of the less satisfied {unsatisfied:.0%} "
            f"left, {unsatisfied / 10:.1%} of subscribers would go; the data hold no revenue.",
        ),
        (
            "Limits",
            "20% in both",
            f"{busiest:.0%} of sessions start on three days; {both:.1%} of subscribers "
            f"are in both halves of the days: periods {'cannot' if both < 0.2 else 'can'} be compared.",
        ),
        (
            "Limits",
            f"Rand 0.8, R2 {LOW_R2}",
            "Without the never-observed, experience clusters "
            f"{'stay' if rand > 0.8 else 'change'}; behaviour "
            f"predicts {'poorly' if r2 < LOW_R2 else 'usefully'}.",
        ),
        (
            "Recommendation",
            "worst cluster 40%, three days 50%, never observed 25%",
            "Proceed to an offer." if buy else "Ask for a full, measured month before an offer.",
        ),
    ]
    page.table("memo", pd.DataFrame(lines, columns=["part", "threshold that would flip it", "line"]), "Memo")
    page.table("coverage", sessions.groupby(day)[ID].agg(["size", "nunique"]), "Coverage by day")


def save_subscribers(page, users):
    kinds = [
        f"{name}_{kind}"
        for kind in ("score", "index", "cluster")
        for name in ("engagement", "experience", "satisfaction")
    ]
    users[kinds].to_csv(page.folder / "tables" / "satisfaction.csv")
    quality = [f"{metric}{kind}" for kind in ("", "_raw", "_filled_share") for metric in EXPERIENCE]
    columns = ["session_count", "duration_s", *VOLUMES, *APPS, *quality, "handset"]
    users[columns].to_csv(page.folder / "tables" / "profiles.csv")


def main(source, folder):
    page = Page(Path(folder))
    page.seconds["imports"] = round(time.perf_counter() - STARTED, 3)
    sessions = page.run("load", load, source)
    users, quality = page.run("profile", profile, sessions)
    page.run("overview", overview, sessions, users)
    page.run("engagement", engagement, sessions, users)
    retested = page.run("experience", experience, sessions, quality, users)
    r2 = page.run("satisfaction", satisfaction, sessions, users)
    page.run("decision memo", memo, sessions, users, retested, r2)
    page.run("subscriber tables", save_subscribers, users)
    page.run("page", Page.write)
    print(
        json.dumps(
            {
                "seconds": page.seconds,
                "total_seconds": round(time.perf_counter() - STARTED, 3),
                "charts": page.charts,
                "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            }
        )
    )


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python benchmarks/notebook_baseline.py CSV OUT_DIR")
    main(sys.argv[1], sys.argv[2])
