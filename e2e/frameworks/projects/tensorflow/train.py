"""A loop of TensorFlow's own, with a CheckpointManager: it resumes from the newest checkpoint by itself."""
import numpy as np
import tensorflow as tf

from pause import pause

STEPS = 60

tf.random.set_seed(1)
rng = np.random.default_rng(1)
inputs = tf.constant(rng.random((128, 4)), tf.float32)
targets = tf.reduce_sum(inputs, axis=1, keepdims=True)


class Model(tf.Module):
    def __init__(self):
        super().__init__()
        self.weights = tf.Variable(tf.zeros((4, 1)))
        self.velocity = tf.Variable(tf.zeros((4, 1)))

    def train(self):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((inputs @ self.weights - targets) ** 2)
        self.velocity.assign(0.9 * self.velocity + tape.gradient(loss, self.weights))
        self.weights.assign_sub(0.02 * self.velocity)
        return loss


model, step = Model(), tf.Variable(0, dtype=tf.int64)
checkpoint = tf.train.Checkpoint(model=model, step=step)
manager = tf.train.CheckpointManager(checkpoint, "./tf_ckpts", max_to_keep=3)
checkpoint.restore(manager.latest_checkpoint)
print(f"Restored from {manager.latest_checkpoint}" if manager.latest_checkpoint else "Initializing from scratch.")
while int(step) < STEPS:
    pause(int(step))
    loss = model.train()
    step.assign_add(1)
    if int(step) % 10 == 0:
        print(f"Saved checkpoint for step {int(step)}: {manager.save()}")
        print(f"step {int(step)}: loss {float(loss):.4f}")
np.savez("weights.npz", weights=model.weights.numpy())
