// Verifies a bundle with sigstore's own library: node verify_bundle.cjs BUNDLE PUBLIC_KEY; prints the statement.
const fs = require("fs");
const crypto = require("crypto");
const { createRequire } = require("module");
const [bundlePath, keyPath, modules] = process.argv.slice(2);
const load = createRequire(modules + "/");
const { bundleFromJSON } = load("@sigstore/bundle");
const { toSignedEntity, toTrustMaterial, Verifier } = load("@sigstore/verify");

const bundle = bundleFromJSON(JSON.parse(fs.readFileSync(bundlePath, "utf8")));
const key = crypto.createPublicKey(fs.readFileSync(keyPath));
const hint = bundle.verificationMaterial.content.publicKey.hint;
const der = key.export({ type: "spki", format: "der" });
const ours = crypto.createHash("sha256").update(der).digest("base64");
if (hint !== ours && process.argv[5] !== "--any-hint") throw new Error("the bundle names another key");

const root = { certificateAuthorities: [], ctlogs: [], timestampAuthorities: [], tlogs: [] };
const material = toTrustMaterial(root, () => ({ publicKey: key, validFor: () => true }));
new Verifier(material, { tlogThreshold: 0, ctlogThreshold: 0, timestampThreshold: 0 }).verify(toSignedEntity(bundle));
process.stdout.write(bundle.content.dsseEnvelope.payload);
