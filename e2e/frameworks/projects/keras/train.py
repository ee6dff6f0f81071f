"""Keras with fit, its best model, TensorBoard, and BackupAndRestore, which resumes a training that was interrupted."""
import keras
import numpy as np

from pause import pause


class Pause(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        pause(epoch)


keras.utils.set_random_seed(1)
rng = np.random.default_rng(1)
inputs = rng.random((256, 4)).astype("float32")
targets = inputs.sum(axis=1, keepdims=True)
model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(8, activation="relu"), keras.layers.Dense(1)])
model.compile(optimizer="adam", loss="mse")
history = model.fit(
    inputs,
    targets,
    epochs=8,
    batch_size=32,
    shuffle=False,
    validation_split=0.25,
    verbose=2,
    callbacks=[
        keras.callbacks.BackupAndRestore(backup_dir="backup"),
        keras.callbacks.ModelCheckpoint("best.keras", save_best_only=True),
        keras.callbacks.TensorBoard(log_dir="logs"),
        Pause(),
    ],
)
print(f"The first epoch of this attempt: {history.epoch[0]}")
model.save("final.keras")
np.savez("weights.npz", *model.get_weights())
