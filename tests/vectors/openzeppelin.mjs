// Makes openzeppelin.json with OpenZeppelin's own library, from leaves written down here.
// Once, in a scratch folder:  npm install @openzeppelin/merkle-tree@1.0.8
//                             node openzeppelin.mjs > openzeppelin.json
import { StandardMerkleTree } from "@openzeppelin/merkle-tree";

const hex = (byte) => "0x" + byte.toString(16).padStart(2, "0").repeat(32);
const account = (n) => "0x" + (n * 7919 + 11).toString(16).padStart(40, "0");
const encodings = {
  contributors: ["uint64", "uint32", "address", "bytes32", "uint64", "uint32", "uint256", "bytes32"],
  scores: ["uint64", "address", "uint64"],
  rewards: ["address", "uint256"],
};
const rows = {
  contributors: (i) => [
    "3", String(i), account(i), hex(i + 1), String(100 * i + 7), String(16777216 >> i),
    String(10n ** 18n * BigInt(i + 1)), hex(255 - i),
  ],
  scores: (i) => ["18446744073709551615", account(i), String(i * i)],
  rewards: (i) => [account(i), String(2n ** 200n + BigInt(i))],
};
const trees = [];
for (const [name, types] of Object.entries(encodings)) {
  for (const n of [1, 2, 3, 4, 5, 6, 7, 8, 13]) {
    const leaves = Array.from({ length: n }, (_, i) => rows[name](i));
    const tree = StandardMerkleTree.of(leaves, types, { sortLeaves: false });
    trees.push({
      tree: name,
      leaves,
      leaf_hashes: leaves.map((leaf) => tree.leafHash(leaf).slice(2)),
      root: tree.root.slice(2),
      proofs: leaves.map((_, i) => tree.getProof(i).map((digest) => digest.slice(2))),
    });
  }
}
console.log(JSON.stringify({ format: 1, made_with: "@openzeppelin/merkle-tree 1.0.8", trees }, null, 1));
