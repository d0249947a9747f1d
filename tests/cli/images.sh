#!/usr/bin/env bash
# images.sh - a recipe with task: images from IDX files to a folder that carat evaluate judges; what is refused.
. "$(dirname "$0")/common.sh"

# 120 images of 8 x 8 pixels: the class is where the bright columns are; of gzip for the second pair.
python3 - "$work" <<'PYTHON'
import gzip, random, struct, sys
random.seed(1)
def write(name, count, opener):
    images, labels = bytearray(struct.pack(">4i", 0x803, count, 8, 8)), bytearray(struct.pack(">2i", 0x801, count))
    for _ in range(count):
        label = random.randrange(4)
        labels.append(label)
        images += bytes((160 if p % 4 == label else 0) + random.randrange(60) for p in range(64))
    for part, data in ("images", images), ("labels", labels):
        with opener(f"{sys.argv[1]}/{name}-{part}", "wb") as file: file.write(data)
write("train", 120, open)
write("test", 40, gzip.open)
PYTHON
cat >"$work/vit.yaml" <<YAML
task: images
model: {model_type: vit, image_size: 8, patch_size: 4, num_channels: 1, num_labels: 4, hidden_size: 16,
        num_hidden_layers: 1, num_attention_heads: 2, intermediate_size: 16}
data: {train: $work/train-images, train_labels: $work/train-labels,
       validation: $work/test-images, validation_labels: $work/test-labels}
per_device_train_batch_size: 16
max_steps: 60
learning_rate: 0.01
lr_scheduler_type: constant
save_steps: 20
YAML
exits 0 train "$work/vit.yaml" out="$work/vit" --json
silent
json 'r["accuracy_after"] > 0.9 > 0.6 > r["accuracy_before"] and r["bits_per_byte_after"] is None and r["tokens"] == 960'
cp "$work/out" "$work/report.json"
exits 0 evaluate "$work/vit" "$work/test-images" --labels "$work/test-labels" --json
silent
json 'r["images"] == 40 and r["accuracy"] == json.load(open("'"$work"'/report.json"))["accuracy_after"]'
json 'abs(math.exp(r["loss"]) / json.load(open("'"$work"'/report.json"))["perplexity_after"] - 1) < 1e-12'
cp "$work/out" "$work/first.json"
exits 0 evaluate "$work/vit" "$work/test-images" --labels "$work/test-labels" --json --batch 3 --threads 2
json 'r["loss"] == json.load(open("'"$work"'/first.json"))["loss"]'
exits 0 evaluate "$work/vit" "$work/test-images" --labels "$work/test-labels" --limit 7 --quiet
prints "accuracy " "(7 images, "
exits 0 train "$work/vit.yaml" out="$work/parts" max_steps=30 --json
exits 0 train "$work/vit.yaml" out="$work/parts" --resume
prints "Done after 60 steps, 960 images" "Held-out images: before  loss" "accuracy"
same "$work/vit/model.safetensors" "$work/parts/model.safetensors"
exits 0 plan memory "$work/vit.yaml" --json
json 'r["micro_batch"] == 16 and r["peak"] > 0'
sed -e '/^        num_hidden_layers/d' -e 's/^model: .*/model: {model_type: mlp, sizes: [64, 16, 4]}/' "$work/vit.yaml" >"$work/mlp.yaml"
exits 0 train "$work/mlp.yaml" out="$work/mlp" --json
exits 0 evaluate "$work/mlp" "$work/test-images" --labels "$work/test-labels" --json
json 'r["accuracy"] > 0.9'
ok trains

exits 1 train "$work/vit.yaml" out="$work/x" data.train="$work/test-images"
says "120 classes, there are 40 images"
exits 1 train "$work/vit.yaml" out="$work/x" model.image_size=12
says "images of 8 x 8 pixels in 1 channels, the model takes 12 x 12 in 1"
exits 2 train "$work/vit.yaml" out="$work/x" model.num_labels=3
says "there is an image of class 3, the model has 3 classes (num_labels)"
exits 2 train "$work/vit.yaml" out="$work/x" tokenizer.kind=bytes
says "tokenizer.kind: it is about text, the task is images"
exits 1 train "$work/vit.yaml" out="$work/x" data.train="$source_root/LICENSE"
says "not an IDX file"
head -c 500 "$work/train-images" >"$work/cut"
exits 1 train "$work/vit.yaml" out="$work/x" data.train="$work/cut"
says "the header says [120, 8, 8]"
[ ! -e "$work/x" ] || fail "a refused run wrote something"
exits 1 evaluate "$work/vit" "$work/test-images" --labels "$work/train-labels"
says "120 classes, there are 40 images"
exits 2 evaluate "$work/vit" --labels "$work/test-labels"
says "--labels: expected a MODEL and an IDX file of images"
make_model
exits 1 evaluate "$work/model" "$work/test-images" --labels "$work/test-labels"
says "a gpt2 does not take images"
ok refused
