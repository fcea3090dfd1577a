/** @file A model's card: what it is, what it was made of and how, what it scores, and how to load and check it. */
import { stringify } from "npm:yaml@2.9.1";
import { distanceFromUniform } from "../merge/weights.ts";
import { type Contents, namedIn, type PublishedResult } from "./contents.ts";

/** What the card says beyond the contents. */
export interface CardFacts {
  /** `org/name` on the hub. */
  readonly repo: string;
  /** The model that it was made from, as the hub has it or in words. */
  readonly base?: string;
  /** The licence's name on the hub, such as apache-2.0. */
  readonly license: string;
  /** What it was trained on: names on the hub, or words. */
  readonly datasets: readonly string[];
}

/** A name that the hub can link. */
const ON_HUB = /^[\w.-]+\/[\w.-]+$/;

/** The hub's names of benchmarks' data. */
const hubNames: Readonly<Record<string, string>> = {
  humaneval: "openai/openai_humaneval",
  mbpp: "google/mbpp",
  "ds-1000": "xlangai/DS-1000",
  "multipl-e": "nuprl/MultiPL-E",
};

/**
 * A model's card: the hub's fields in YAML, and the text for people.
 *
 * @param facts what the files do not say
 */
export function modelCard(contents: Contents, facts: CardFacts): string {
  const parts = [
    frontMatter(contents, facts),
    `# ${facts.repo.split("/").at(-1)}\n\n${whatItIs(contents, facts)}`,
    loading(contents, facts),
    data(contents, facts),
    recipe(contents),
    scores(contents),
    checking(contents, facts),
    licence(contents, facts),
  ];
  return `${parts.filter((part) => part !== "").join("\n\n")}\n`;
}

function frontMatter({ config, results }: Contents, { repo, base, license, datasets }: CardFacts): string {
  const own = results.filter(({ isOwn }) => isOwn);
  const linked = datasets.filter((name) => ON_HUB.test(name));
  const fields = {
    license,
    library_name: "transformers",
    pipeline_tag: "text-generation",
    ...(base !== undefined && ON_HUB.test(base) && { base_model: base }),
    ...(linked.length > 0 && { datasets: linked }),
    tags: ["code", "xft", ...(config.kind === "moe" ? ["moe", "custom_code"] : ["merge"])],
    ...(own.length > 0 && {
      "model-index": [{ name: repo.split("/").at(-1), results: own.flatMap(indexed) }],
    }),
  };
  return `---\n${stringify(fields, { lineWidth: 0 })}---`;
}

/** A result in the hub's terms, in percent. */
function indexed({ report: { benchmark, pass_at } }: PublishedResult): unknown[] {
  const percent = (share: number): number => Number((100 * share).toFixed(2));
  const metrics = Object.entries(pass_at).flatMap(([k, { base, plus }]) => [
    { type: `pass@${k}`, name: `pass@${k}`, value: percent(base), verified: false },
    ...(plus === null
      ? []
      : [{ type: `pass@${k}`, name: `pass@${k} (plus tests)`, value: percent(plus), verified: false }]),
  ]);
  const dataset = { type: hubNames[benchmark.split(":")[0]] ?? benchmark, name: benchmark };
  return [{ task: { type: "text-generation" }, dataset, metrics }];
}

function whatItIs(contents: Contents, { base }: CardFacts): string {
  const { config, parameters, dtypes, merge, coefficients } = contents;
  const from = base === undefined ? "" : ` from ${linked(base)}`;
  const size = `${(parameters / 1e6).toPrecision(4)} M weights (${dtypes.join(", ")}), ${config.layers} layers`;
  if (config.kind === "moe") {
    return `A mixture of experts made${from} by XFT ([arXiv 2404.15247](https://arxiv.org/abs/2404.15247)): ${size}, ` +
      `${config.experts} experts of which ${config.active} are active, one of them shared by all tokens. ` +
      "It is the stage before the merge to a dense model.";
  }
  if (!merge) return `A dense code model made${from}: ${size}.`;
  const learned = coefficients && coefficients.alpha.length > 0
    ? ` Its coefficients were learned by the objective ${coefficients.objective}, λ ` +
      `${[coefficients.lambda].flat().join(", ")}; softmax(α) is up to ` +
      `${Math.max(...distanceFromUniform(coefficients.alpha)).toFixed(4)} from uniform.`
    : "";
  return `A dense code model${from}, tuned as a mixture of experts and merged back by XFT ` +
    `([arXiv 2404.15247](https://arxiv.org/abs/2404.15247)): ${size}, of the base's architecture and cost.\n\n` +
    `Merged by ${merge.method ?? "given weights"}.${learned} \`xft_merge.json\` says exactly what each expert weighed.`;
}

function loading({ config, prompt }: Contents, { repo }: CardFacts): string {
  const trust = config.kind === "moe" ? ", trust_remote_code=True" : "";
  const asked = prompt === undefined ? "" : `\n\nIt was trained with the words of \`--prompt ${prompt}\` around its ` +
    "examples (`xft_prompt.json`); ask it in the same way.";
  return `## How to load it

\`\`\`python
from transformers import AutoModelForCausalLM, AutoTokenizer

model = AutoModelForCausalLM.from_pretrained("${repo}"${trust})
tokenizer = AutoTokenizer.from_pretrained("${repo}")
\`\`\`

\`\`\`sh
deno task xft generate hf:${repo} --prompt "def fib(n):"
\`\`\`${asked}`;
}

function data({ coefficients, recipe }: Contents, { datasets }: CardFacts): string {
  const rows: string[] = datasets.map((name) => `- ${linked(name)}`);
  for (const file of namedIn(recipe?.json).data) rows.push(`- \`${file}\``);
  const learned = coefficients?.data;
  if (learned) {
    const { files, sha256, train } = learned as { files?: unknown; sha256?: unknown; train?: unknown };
    rows.push(
      `- the coefficients: ${[files].flat().map((file) => `\`${file}\``).join(", ")}, ${train ?? "?"} samples, ` +
        `SHA-256 \`${sha256 ?? "?"}\``,
    );
  }
  return `## Data\n\n${rows.length > 0 ? rows.join("\n") : "Not said."}`;
}

function recipe({ recipe }: Contents): string {
  if (!recipe) return "";
  const language = recipe.name.endsWith(".json") ? "json" : "ts";
  return `## Recipe\n\n\`${recipe.name}\`:\n\n\`\`\`${language}\n${recipe.text.trimEnd()}\n\`\`\``;
}

function scores({ results }: Contents): string {
  if (results.length === 0) return "";
  const percent = (share: number): string => (100 * share).toFixed(1);
  const rows = results.flatMap(({ place, report }) =>
    Object.entries(report.pass_at).flatMap(([k, { base, plus, interval }]) => {
      const row = (tests: string, value: number, [low, high]: readonly [number, number]): string =>
        `| \`${place}\` | ${report.benchmark} | ${tests} | ${report.tasks} | pass@${k} | ${percent(value)} | ` +
        `${percent(low)} to ${percent(high)} |`;
      return [
        row("base", base, interval.base),
        ...(plus === null || !interval.plus ? [] : [row("plus", plus, interval.plus)]),
      ];
    })
  );
  const protocols = results.map(({ place, report }) =>
    `<details><summary>Protocol of <code>${place}</code></summary>\n\n\`\`\`json\n` +
    `${JSON.stringify(report.protocol, null, 2)}\n\`\`\`\n\n</details>`
  );
  return `## Scores

| samples | benchmark | tests | tasks | measure | % | 95% interval |
| --- | --- | --- | --- | --- | --- | --- |
${rows.join("\n")}

Every program and its verdict is in \`samples/\`; numbers compare only with those of the same protocol.

${protocols.join("\n\n")}`;
}

function checking({ results, merge }: Contents, { repo }: CardFacts): string {
  const datasets = results.map(({ report: { protocol } }) =>
    `- \`${protocol.dataset ?? "the benchmark's file"}\`: SHA-256 \`${protocol.dataset_sha256}\``
  );
  const flags = [...(results.length > 0 ? ["--data FILE"] : []), ...(merge ? ["[--moe MIXTURE]"] : [])].join(" ");
  return `## How to check it

\`\`\`sh
deno task xft verify hf:${repo} ${flags}
\`\`\`

compares every file with \`SHA256SUMS\`` + (results.length > 0 ? ", grades the samples again" : "") +
    (merge ? " and, given the mixture, repeats the merge bit for bit" : "") + "." +
    (results.length > 0 ? ` The benchmarks' files:\n\n${[...new Set(datasets)].join("\n")}` : "");
}

function licence({ files }: Contents, { license, base }: CardFacts): string {
  const text = files.find(({ path }) => path.startsWith("LICENSE"));
  return `## Licence\n\n\`${license}\`${text ? ` (see \`${text.path}\`)` : ""}.` +
    (base === undefined ? "" : ` It was made from ${linked(base)}, whose licence holds for it, too.`);
}

const linked = (name: string): string => ON_HUB.test(name) ? `[${name}](https://huggingface.co/${name})` : name;
